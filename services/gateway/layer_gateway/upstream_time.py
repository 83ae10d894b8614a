"""How much of a request the store took, however many of its answers were waited for at once."""

from __future__ import annotations

import time
from contextvars import ContextVar


class UpstreamTime:
    """The time during which at least one answer of the store was waited for."""

    __slots__ = ("_since_s", "_waiting_count", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._waiting_count = 0
        self._since_s = 0.0

    def begin(self) -> None:
        """Wait for one more answer."""
        if self._waiting_count == 0:
            self._since_s = time.perf_counter()
        self._waiting_count += 1

    def end(self) -> None:
        """Wait for one less; called once for each :meth:`begin`."""
        self._waiting_count -= 1
        if self._waiting_count == 0:
            self.seconds += time.perf_counter() - self._since_s


upstream_time: ContextVar[UpstreamTime] = ContextVar("upstream_time")
"""Of the request that is being answered; set by the edge, counted by the store's adapter."""
