"""The stamps of writes, in an order that watermarks can rely on.

Two things must hold of a watermark: no write that begins after it was established is stamped at
or before it, and no write stamped at or before it is still on its way. So stamps and the times
of polls come from one clock that never goes back, and stamps in flight are known
(docs/decisions/0019-stable-reads.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layer_gateway.ports.watching import SharedFlights
from layer_kit.clock import EpochMilliseconds
from layer_kit.names import Namespace


class Stamps:
    """Hands out stamps and knows which of them are still being written.

    Args:
        shared: Where other processes of this gateway tell what they are writing, and learn of ours.
    """

    def __init__(
        self, wall_clock_ms: EpochMilliseconds, *, shared: SharedFlights | None = None
    ) -> None:
        self._wall_clock_ms = wall_clock_ms
        self._shared = shared
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
        in_flight = self._in_flight.setdefault(namespace, {})
        if self._shared is not None and not in_flight:
            # Before the stamp is taken: a poll that does not see it yet began before the stamp.
            self._shared.begun(namespace, self.now_ms())
        stamp_ms = self.now_ms()
        mine = object()
        in_flight[mine] = stamp_ms
        try:
            yield stamp_ms
        finally:
            del in_flight[mine]
            if not in_flight and self._in_flight.get(namespace) is in_flight:
                del self._in_flight[namespace]
            if self._shared is not None:
                self._tell_of_end(self._shared, namespace, stamp_ms)

    def earliest_in_flight(self, namespace: Namespace) -> int | None:
        """Return the stamp of the oldest write on its way, None when there is none."""
        ours_ms = self._earliest_here(namespace)
        if self._shared is None:
            return ours_ms
        theirs_ms = self._shared.earliest(namespace)  # with ours
        return ours_ms if theirs_ms is None else theirs_ms

    def _earliest_here(self, namespace: Namespace) -> int | None:
        in_flight = self._in_flight.get(namespace)
        # Stamps never go back, so that the first to come in is the earliest.
        return next(iter(in_flight.values())) if in_flight else None

    def _tell_of_end(self, shared: SharedFlights, namespace: Namespace, ended_ms: int) -> None:
        earliest_ms = self._earliest_here(namespace)
        if earliest_ms is None:
            shared.ended(namespace)
        elif earliest_ms > ended_ms:
            shared.begun(namespace, earliest_ms)
