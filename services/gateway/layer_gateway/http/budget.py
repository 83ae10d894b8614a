"""How many bytes of request bodies a process holds at once.

Small bodies come along with their heads and are not counted. A larger one waits for its place
before it is read, first come first served, so that many at once wait in their senders' sockets
instead of in our memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from layer_kit.errors import UnavailableError

WAIT_S_MAX: Final = 10.0
RETRY_AFTER_S: Final = 2.0


class BodyBudget:
    """Hands out a bounded number of bytes.

    Args:
        emptied: Told when nothing is held any more, and how much was at most since the last time.
    """

    def __init__(
        self,
        bytes_max: int,
        *,
        wait_s_max: float = WAIT_S_MAX,
        emptied: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._bytes_max = bytes_max
        self._wait_s_max = wait_s_max
        self._emptied = emptied
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._peak_bytes = 0
        self.held_bytes = 0

    async def take(self, size_bytes: int) -> None:
        """Wait for room for ``size_bytes``; something larger than all there is has it alone.

        Raises:
            UnavailableError: ``BODIES_TOO_MANY`` after ``wait_s_max`` seconds without room.
        """
        if not self._waiting and self._has_room(size_bytes):
            self._hold(size_bytes)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = size_bytes, turn
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._wait_s_max):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.give(size_bytes)  # its turn had come in the same moment
            else:
                self._waiting.remove(entry)
                self._let_in()  # who came after it may be smaller
            if isinstance(error, TimeoutError):
                raise UnavailableError(
                    "BODIES_TOO_MANY",
                    f"Large requests hold {self.held_bytes} bytes already; try again later.",
                    retry_after_s=RETRY_AFTER_S,
                    held_bytes=self.held_bytes,
                ) from error
            raise

    def give(self, size_bytes: int) -> None:
        """Return what was taken."""
        self.held_bytes -= size_bytes
        self._let_in()
        if not self.held_bytes:
            self._emptied(self._peak_bytes)
            self._peak_bytes = 0

    def _let_in(self) -> None:
        while self._waiting:
            size_bytes, turn = self._waiting[0]
            if turn.done() or not self._has_room(size_bytes):
                return  # a turn that was cancelled takes itself out of the way
            self._waiting.popleft()
            self._hold(size_bytes)
            turn.set_result(None)

    def _hold(self, size_bytes: int) -> None:
        self.held_bytes += size_bytes
        self._peak_bytes = max(self._peak_bytes, self.held_bytes)

    def _has_room(self, size_bytes: int) -> bool:
        return not self.held_bytes or self.held_bytes + size_bytes <= self._bytes_max
