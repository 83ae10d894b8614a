"""How many requests of one scan are under way at once: fewer while the store is short of time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

REFUSALS_MAX: Final = 10
"""In a row, after pauses of about a minute together; then the store's refusal stands."""

PAUSE_S: Final = 0.25
PAUSE_S_MAX: Final = 15.0


class Throttle:
    """Lets requests through: half as many after a refusal, one more after a round of answers.

    Args:
        threads: Requests at once while nothing is refused. At least 1.
    """

    def __init__(self, threads: int, *, random_share: Callable[[], float] = random.random) -> None:
        self.threads = threads
        self.limit = threads
        """Requests at once now."""
        self._random_share = random_share
        self._running_count = 0
        self._answers_count = 0
        self._refusals_count = 0
        self._refused_at_s = -1.0
        self._resumes_at_s = 0.0
        self._room = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Wait for room; yield the time at which the request is sent."""
        loop = asyncio.get_running_loop()
        async with self._room:
            while (pause_s := self._resumes_at_s - loop.time()) > 0 or not self._has_room:
                if pause_s > 0:
                    self._room.release()
                    try:
                        await asyncio.sleep(pause_s)
                    finally:
                        await self._room.acquire()
                else:
                    await self._room.wait()
            self._running_count += 1
        try:
            yield loop.time()
        finally:
            self._running_count -= 1
            async with self._room:
                self._room.notify(self.limit)

    def answered(self) -> None:
        """Note an answer."""
        self._refusals_count = 0
        self._answers_count += 1
        if self.limit < self.threads and self._answers_count >= self.limit:
            self._answers_count = 0
            self.limit += 1

    def refused(self, sent_at_s: float, pause_s: float | None = None) -> bool:
        """Note a refusal, which all wait out; tell whether to try again.

        Requests that were on their way together count once.

        Args:
            pause_s: What the store asked for.
        """
        if sent_at_s < self._refused_at_s:
            return True
        now_s = asyncio.get_running_loop().time()
        self._refused_at_s = now_s
        self._refusals_count += 1
        self._answers_count = 0
        self.limit = max(1, self.limit // 2)
        own_s = min(PAUSE_S_MAX, PAUSE_S * 2 ** (self._refusals_count - 1))
        wanted_s = own_s if pause_s is None else min(pause_s, PAUSE_S_MAX)
        self._resumes_at_s = now_s + wanted_s * (1 + self._random_share() / 2)
        return self._refusals_count <= REFUSALS_MAX

    @property
    def _has_room(self) -> bool:
        return self._running_count < self.limit
