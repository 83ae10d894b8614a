"""Small requests that come in parts: kept for a moment, in which the rest may come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

GATHERED_BYTES_MAX: Final = 128 * 1024
GATHERING_S_MAX: Final = 0.05
"""Most callers send heads and bodies apart: of small requests the rest is there by then."""


class Gathering:
    """What has come of one request so far.

    Args:
        missing_bytes: How much of it is to come.
        go_on: Called when the rest has not come in time.
    """

    __slots__ = ("_go_on", "_missing_bytes", "_parts", "_timer")

    def __init__(self, first: bytes, missing_bytes: int, go_on: Callable[[], None]) -> None:
        self._parts = [first]
        self._missing_bytes = missing_bytes
        self._timer = asyncio.get_running_loop().call_later(GATHERING_S_MAX, go_on)

    def is_whole_with(self, part: bytes) -> bool:
        """Add a part; tell whether none is missing any more."""
        self._parts.append(part)
        self._missing_bytes -= len(part)
        return self._missing_bytes <= 0

    def end(self) -> bytes:
        """Return all that has come, and what follows the request, if anything does."""
        self._timer.cancel()
        return b"".join(self._parts)
