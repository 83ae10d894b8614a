"""A large body on its way: a part of it at a time, so that no write holds the loop for long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
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
        part = next(self._parts, None)
        if part is None:
            return
        self.left_bytes -= sum(map(len, part))
        self._transport.writelines(part)
        if not self.left_bytes:
            self.abandon()  # or the body would be held for as long as the connection is idle
        elif not self._is_full:
            self._loop.call_soon(self._send_unless_full)

    def _send_unless_full(self) -> None:
        if not self._is_full:
            self.send_next()


def _parts(body: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield the pieces of a body in parts, cut where one is larger."""
    part: list[Piece] = []
    part_bytes = 0
    for piece in body:
        for start in range(0, len(piece), PART_BYTES_MAX):
            cut = memoryview(piece)[start : start + PART_BYTES_MAX]
            if part and part_bytes + len(cut) > PART_BYTES_MAX:
                yield part
                part, part_bytes = [], 0
            part.append(cut)
            part_bytes += len(cut)
    if part:
        yield part
