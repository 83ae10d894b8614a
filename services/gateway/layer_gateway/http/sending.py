"""What a connection sends: answers, as fast as the caller takes them, or not at all."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from layer_gateway.http.memory import MemoryRelease

ANSWER_BYTES_PER_SECOND_MIN: Final = 32 * 1024
"""A caller who takes less of an answer, and not all of it, is hung up on: what it leaves standing
is memory of ours, or a connection to the store."""


class SendingProtocol(web.RequestHandler):
    """The half of a connection that waits until answers are taken.

    Args:
        patience_s: For how long a caller may take less than it should.
        release: Told of what waits.
    """

    def __init__(
        self, manager: web.Server, *, patience_s: float, release: MemoryRelease, **kwargs: Any
    ) -> None:
        super().__init__(manager, **kwargs)
        self.patience_s = patience_s
        self._release = release
        self._taking: asyncio.TimerHandle | None = None

    async def _drain_helper(self) -> None:
        """Wait until what was written is taken, but for little, or the caller is gone."""
        if not self._paused:  # as is usual
            await super()._drain_helper()
            return
        left_bytes = self._left_bytes
        self._release.waits(left_bytes)
        self._watch_taking()
        try:
            await super()._drain_helper()
        finally:
            self._release.is_taken(left_bytes)
            if self._taking is not None:
                self._taking.cancel()
                self._taking = None

    @property
    def has_sent_all(self) -> bool:
        """Whether all that was written is on its way, on a connection that is open."""
        return self.transport is not None and not self._left_bytes

    @property
    def _left_bytes(self) -> int:
        """How much was written and not taken."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def _watch_taking(self) -> None:
        if self.transport is not None:
            self._taking = self._loop.call_later(
                self.patience_s, self._look_at_taking, self._left_bytes
            )

    def _look_at_taking(self, left_bytes: int) -> None:
        """Hang up on a caller who has taken too little; ``left_bytes`` are of when it began to."""
        transport = self.transport
        if transport is None:
            return
        taken_bytes = left_bytes - self._left_bytes
        if taken_bytes < self.patience_s * ANSWER_BYTES_PER_SECOND_MIN:
            transport.abort()
        else:
            self._watch_taking()
