"""A large body on its way: a part of it at a time, so that no write holds the loop for long."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from layer_upstream.request import Piece

PART_BYTES_MAX: Final = 1024 * 1024
"""What a socket may be given at once: copying it takes the kernel about a millisecond."""


class Outbox:
    """Hands a body to a transport, whose protocol tells it when that is full and when it is not.

    Attributes:
        left_bytes: What the transport has not been handed yet.
    """

    def __init__(
        self, transport: asyncio.Transport, body: Sequence[Piece], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._transport = transport
        self._parts = _parts(body)
        self._loop = loop
        self._is_full = False
        self.left_bytes = sum(map(len, body))

    def pause(self) -> None:
        """Hold back what is left until there is room again."""
        self._is_full = True

    def resume(self) -> None:
        """Go on."""
        self._is_full = False
        self.send_next()

    def abandon(self) -> None:
        """Send nothing more."""
        self._parts = iter(())

    def send_next(self) -> None:
        """Send the next part, and the others in turns to come."""
        found = next(self._parts, None)
        if found is None:
            return
        part, part_bytes = found
        self.left_bytes -= part_bytes
        self._transport.writelines(part)
        if not self.left_bytes:
            self.abandon()  # or the body would be held for as long as the connection is idle
        elif not self._is_full:
            self._loop.call_soon(self._send_unless_full)

    def _send_unless_full(self) -> None:
        if not self._is_full:
            self.send_next()


def _parts(body: Sequence[Piece]) -> Iterator[tuple[Sequence[Piece], int]]:
    """Yield the pieces of a body in parts, cut where one is larger, and the bytes of each part.

    A write has two pieces for each of its rows, so that none is looked at by itself.
    """
    ends = list(accumulate(map(len, body)))
    start = done_bytes = 0
    while start < len(ends):
        stop = bisect_right(ends, done_bytes + PART_BYTES_MAX, start)
        if stop > start:
            yield body[start:stop], ends[stop - 1] - done_bytes
        else:
            stop = start + 1
            piece = memoryview(body[start])
            for at in range(0, len(piece), PART_BYTES_MAX):
                cut = piece[at : at + PART_BYTES_MAX]
                yield (cut,), len(cut)
        start, done_bytes = stop, ends[stop - 1]
