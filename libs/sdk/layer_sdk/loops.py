"""What the loops of items and of documents have in common."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from layer_sdk.transport import Refused, Unavailable

log = logging.getLogger("layer_sdk")

POLL_INTERVAL_S: Final = 2.0
DRAIN_S_MAX: Final = 20.0


@dataclass(slots=True, kw_only=True)
class Loop:
    """Works until it is told to stop."""

    lease_s: float
    poll_interval_s: float = POLL_INTERVAL_S
    drain_s: float = DRAIN_S_MAX
    """How long a running call may go on after :meth:`stop`, and then handing in."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Claim no more, finish what runs and give back what does not."""
        if not self._stopping.is_set():
            log.info("told to stop: what runs is finished, what waits is given back")
        self._stopping.set()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    @contextlib.asynccontextmanager
    async def _renewing(self, renew: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Renew leases at a third of their time until the block ends."""
        heart = asyncio.create_task(self._beat(renew))
        try:
            yield
        finally:
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await heart

    async def _beat(self, renew: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 3)
            try:
                await renew()
            except (Unavailable, Refused) as error:
                log.warning("cannot renew leases: %s", error)
