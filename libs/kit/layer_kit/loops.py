"""Background loops that survive their errors.

A loop that dies silently is worse than one that never ran, so a failing turn is logged, counted
in ``layer_loop_failures_total`` and followed by a pause that doubles up to a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter

log = structlog.get_logger(__name__)

BACKOFF_S_MAX: Final = 30.0


class Loops:
    """Starts named loops and stops them all when its block ends."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []
        self._failures = Counter(
            "layer_loop_failures_total",
            "Turns of a background loop that raised.",
            ["loop"],
            registry=registry,
        )

    def every(self, interval_s: float, turn: Callable[[], Awaitable[object]], *, name: str) -> None:
        """Run ``turn`` now and then ``interval_s`` seconds after each end of it."""
        failures = self._failures.labels(loop=name)

        async def run() -> None:
            pause_s = interval_s
            while True:
                try:
                    await turn()
                    pause_s = interval_s
                except Exception:
                    failures.inc()
                    log.exception("loop_turn_failed", loop=name)
                    pause_s = min(max(pause_s, interval_s) * 2, max(BACKOFF_S_MAX, interval_s))
                await self._sleep(pause_s)

        self._tasks.append(asyncio.create_task(run(), name=name))

    async def stop(self) -> None:
        """Cancel every loop and wait until each has ended."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()


@asynccontextmanager
async def background_loops(registry: CollectorRegistry) -> AsyncIterator[Loops]:
    """Yield a :class:`Loops` whose loops live as long as the block."""
    loops = Loops(registry)
    try:
        yield loops
    finally:
        await loops.stop()
