"""Giving back to the system what large requests and answers took.

The C library keeps the memory of what was freed: a process would show for the rest of its life what
its largest write took, or the most that its slowest callers let wait.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from typing import Final

RELEASED_FROM_BYTES: Final = 64 * 1024 * 1024
"""What held less together leaves less behind than it is worth to look for."""

RELEASE_DELAY_S: Final = 1.0
"""By then whatever else hung on a request is gone as well."""


class MemoryRelease:
    """Has memory given back once large requests are over.

    Args:
        trim: Gives back all that is free.
    """

    def __init__(self, trim: Callable[[], object] | None = None) -> None:
        self._trim = trim or _trim_of_the_library()
        self._due: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0
        self._waiting_bytes_peak = 0

    def waits(self, size_bytes: int) -> None:
        """Notice that a part of an answer is not taken yet."""
        self._waiting_bytes += size_bytes
        self._waiting_bytes_peak = max(self._waiting_bytes_peak, self._waiting_bytes)

    def is_taken(self, size_bytes: int) -> None:
        """Notice that it is, or that nobody waits for that any more."""
        self._waiting_bytes -= size_bytes
        if not self._waiting_bytes:
            peak_bytes, self._waiting_bytes_peak = self._waiting_bytes_peak, 0
            self.emptied(peak_bytes)

    def emptied(self, peak_bytes: int) -> None:
        """Notice that nothing of a kind is held any more, and how much was since the last time."""
        if peak_bytes >= RELEASED_FROM_BYTES and self._trim is not None and self._due is None:
            self._due = asyncio.get_running_loop().call_later(RELEASE_DELAY_S, self._release)

    def _release(self) -> None:
        self._due = None
        assert self._trim is not None
        # In a thread, since the more there is the longer it takes.
        asyncio.get_running_loop().run_in_executor(None, self._trim)


def _trim_of_the_library() -> Callable[[], object] | None:
    """Return what trims the arenas; None where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return None if trim is None else lambda: trim(0)
