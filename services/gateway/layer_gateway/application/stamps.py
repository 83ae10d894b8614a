"""The stamps of writes, in an order that watermarks can rely on.

Two things must hold of a watermark: no write that begins after it was established is stamped at
or before it, and no write stamped at or before it is still on its way. So stamps and the times
of polls come from one clock that never goes back, and stamps in flight are known
(docs/decisions/0019-stable-reads.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layer_kit.clock import EpochMilliseconds
from layer_kit.names import Namespace


class Stamps:
    """Hands out stamps and knows which of them are still being written."""

    def __init__(self, wall_clock_ms: EpochMilliseconds) -> None:
        self._wall_clock_ms = wall_clock_ms
        self._latest_ms = 0
        self._in_flight: dict[Namespace, dict[object, int]] = {}

    def now_ms(self) -> int:
        """Return the time, which is never earlier than one returned or heard of before."""
        self._latest_ms = max(self._latest_ms, self._wall_clock_ms())
        return self._latest_ms

    def heard_of(self, epoch_ms: int) -> None:
        """Never stamp earlier than ``epoch_ms`` from now on."""
        self._latest_ms = max(self._latest_ms, epoch_ms)

    @contextmanager
    def writing(self, namespace: Namespace) -> Iterator[int]:
        """Yield the stamp of a write that is in flight for the length of the block."""
        stamp_ms = self.now_ms()
        mine = object()
        in_flight = self._in_flight.setdefault(namespace, {})
        in_flight[mine] = stamp_ms
        try:
            yield stamp_ms
        finally:
            del in_flight[mine]
            if not in_flight and self._in_flight.get(namespace) is in_flight:
                del self._in_flight[namespace]

    def earliest_in_flight(self, namespace: Namespace) -> int | None:
        """Return the stamp of the oldest write on its way, None when there is none."""
        in_flight = self._in_flight.get(namespace)
        # Stamps never go back, so that the first to come in is the earliest.
        return next(iter(in_flight.values())) if in_flight else None
