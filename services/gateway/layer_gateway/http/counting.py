"""What one request comes to, for the metrics of the data plane."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from layer_gateway.data_metrics import DataMetrics
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.routes import Route
from layer_gateway.upstream_time import UpstreamTime, upstream_time
from layer_kit.errors import CacheColdError, DeadlineError, LayerError, UpstreamError

FIRST_ERROR_STATUS: Final = 400
OK: Final = "ok"
STORE_ERROR: Final = "tpuf_error"
TIMEOUT: Final = "timeout"
LAYER_ERROR: Final = "layer_error"


class Tally(UpstreamTime):
    """How a request ends, once it was let in; those that are not let in are not counted."""

    __slots__ = ("_is_cold", "_outcome")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._waiting_count = 0
        self._since_s = 0.0
        self._outcome: str | None = None
        self._is_cold = False
        upstream_time.set(self)

    def admitted(self) -> None:
        self._outcome = LAYER_ERROR

    def answered(self, response: web.StreamResponse) -> None:
        self._outcome = OK if response.status < FIRST_ERROR_STATUS else STORE_ERROR

    def failed(self, error: LayerError) -> None:
        self._is_cold = isinstance(error, CacheColdError)
        if self._outcome is not None and isinstance(error, DeadlineError):
            self._outcome = TIMEOUT
        elif self._outcome is not None and isinstance(error, UpstreamError):
            self._outcome = STORE_ERROR

    def count(
        self,
        data: DataMetrics,
        request: EdgeRequest,
        route: Route,
        response: web.StreamResponse,
        *,
        seconds: float,
    ) -> None:
        """Count the request, with what its handler has noted on it."""
        outcome = self._outcome
        if outcome is None:
            return
        namespace = route.names.get("namespace", "")
        data.finished(route.operation, namespace, outcome, seconds=seconds, upstream_s=self.seconds)
        if self._is_cold:
            data.refused_cold(namespace)
        if request.shape is not None:
            has_filter, has_rank_by = request.shape
            data.queried(namespace, outcome, has_filter=has_filter, has_rank_by=has_rank_by)
        elif request.written is not None:
            data.written(namespace, *request.written)
        elif request.fetched_count is not None:
            result = response.headers.get("x-layer-cache")
            data.fetched(
                route.operation,
                namespace,
                result,
                ids_count=request.fetched_count,
                seconds=seconds,
            )
