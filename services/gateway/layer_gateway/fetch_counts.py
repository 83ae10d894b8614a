"""Counting the fetches that errands serve: all that is counted of one, in one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from layer_gateway.data_metrics import DataMetrics
from layer_gateway.metrics import EdgeMetrics
from layer_kit.telemetry.recorders import PENDING_MAX, Count, Distribution

KINDS_REMEMBERED_MAX: Final = 20_000
"""More than the namespaces that are told apart; beyond them all is found anew."""


class _Places(NamedTuple):
    """Where the fetches of one kind are counted."""

    demand: Count
    add_whole: Callable[[float], None]
    add_time: Callable[[float], None]
    add_size: Callable[[float], None]
    pending: Sequence[float]
    """Of the distribution that grows fastest, as all fetches go there."""
    all: Sequence[Distribution]


class FetchCounts:
    """Counts fetches that were let in and answered, as the edge and the data plane count them."""

    def __init__(self, edge: EdgeMetrics, data: DataMetrics) -> None:
        self._edge = edge
        self._data = data
        self._found: dict[tuple[str, str, int, str | None], _Places] = {}

    def answered(
        self,
        operation: str,
        namespace: str,
        status: int,
        fetched: tuple[int, str | None],
        *,
        seconds: float,
    ) -> None:
        """Count one.

        Args:
            status: That of the answer.
            fetched: How many ids it named, and what the cache had of them.
        """
        ids_count, result = fetched
        key = (operation, namespace, status, result)
        found = self._found.get(key)
        if found is None:
            found = self._find(key)
        demand, add_whole, add_time, add_size, pending, distributions = found
        demand.value += 1
        add_whole(seconds)
        add_time(seconds)
        add_size(ids_count)
        if len(pending) >= PENDING_MAX:
            for one in distributions:
                one.settle()

    def _find(self, key: tuple[str, str, int, str | None]) -> _Places:
        operation, namespace, status, result = key
        demand, times, sizes = self._data.fetch_places(operation, namespace, result)
        wholes = self._edge.times(operation, status)
        places = _Places(
            demand,
            wholes.pending.append,
            times.pending.append,
            sizes.pending.append,
            wholes.pending,
            (wholes, times, sizes),
        )
        if len(self._found) >= KINDS_REMEMBERED_MAX:
            self._found.clear()
        self._found[key] = places
        return places
