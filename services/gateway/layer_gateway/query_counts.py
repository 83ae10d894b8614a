"""Counting the queries that errands serve: all that is counted of one, in one step."""

from __future__ import annotations

from typing import Final

from layer_gateway.data_metrics import DataMetrics
from layer_gateway.metrics import EdgeMetrics
from layer_gateway.outcomes import OK, STORE_ERROR
from layer_kit.telemetry.recorders import Count, SplitTime

FIRST_ERROR_STATUS: Final = 400
KINDS_REMEMBERED_MAX: Final = 20_000
"""More than the namespaces that are told apart; beyond them all is found anew."""

Shape = tuple[bool, bool]
"""Whether a query filters, and whether it ranks by an expression."""


class QueryCounts:
    """Counts queries that were let in and answered, as the edge and the data plane count them."""

    def __init__(self, edge: EdgeMetrics, data: DataMetrics) -> None:
        self._edge = edge
        self._data = data
        self._found: dict[tuple[str, str, int, Shape], tuple[SplitTime, Count]] = {}

    def answered(
        self,
        operation: str,
        namespace: str,
        status: int,
        shape: Shape,
        *,
        seconds: float,
        upstream_s: float,
    ) -> None:
        """Count one.

        Args:
            status: That of the answer.
            upstream_s: The part of ``seconds`` in which the store was waited for.
        """
        key = (operation, namespace, status, shape)
        found = self._found.get(key)
        if found is None:
            found = self._find(key)
        times, count = found
        times.observe(seconds, upstream_s)
        count.value += 1

    def _find(self, key: tuple[str, str, int, Shape]) -> tuple[SplitTime, Count]:
        operation, namespace, status, (has_filter, has_rank_by) = key
        outcome = OK if status < FIRST_ERROR_STATUS else STORE_ERROR
        whole, upstream, rest = self._data.query_distributions(operation, namespace, outcome)
        count = self._data.query_shapes(
            namespace, outcome, has_filter=has_filter, has_rank_by=has_rank_by
        )
        wholes = (self._edge.times(operation, status), whole)
        if len(self._found) >= KINDS_REMEMBERED_MAX:
            self._found.clear()
        found = self._found[key] = SplitTime(wholes, upstream, rest), count
        return found
