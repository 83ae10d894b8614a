"""What one request comes to, for the metrics of the data plane."""

from __future__ import annotations

from layer_gateway.data_metrics import DataMetrics
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.routes import Route
from layer_gateway.outcomes import Outcome


class Tally(Outcome):
    """The outcome of a request at the edge.

    Args:
        identifier: The request id.
        started_s: When the request came, by ``time.perf_counter``.
    """

    __slots__ = ("identifier", "started_s")

    def __init__(self, identifier: str, started_s: float) -> None:
        super().__init__()
        self.identifier = identifier
        self.started_s = started_s

    def count(
        self, data: DataMetrics, request: EdgeRequest, route: Route, *, seconds: float
    ) -> None:
        """Count the request, with what its handler has noted on it."""
        outcome = self.status
        if outcome is None:
            return
        namespace = route.names.get("namespace", "")
        data.finished(route.operation, namespace, outcome, seconds=seconds, upstream_s=self.seconds)
        if self.is_cold:
            data.refused_cold(namespace)
        if request.shape is not None:
            has_filter, has_rank_by = request.shape
            data.queried(namespace, outcome, has_filter=has_filter, has_rank_by=has_rank_by)
        elif request.written is not None:
            data.written(namespace, *request.written)
        elif request.fetched is not None:
            ids_count, result = request.fetched
            data.fetched(route.operation, namespace, result, ids_count=ids_count, seconds=seconds)
