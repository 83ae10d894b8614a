"""What one call comes to, for the metrics of the data plane: the same ones as over HTTP."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar, cast

from google.protobuf.message import Message

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.fetching import Fetched
from layer_gateway.outcomes import Outcome
from layer_gateway.upstream_time import upstream_time
from layer_kit.errors import LayerError

WRITE: Final = "write"
QUERY: Final = "query"
FETCH: Final = "fetch_many"
DESCRIBE: Final = "describe"
LIST: Final = "list"
"""Operations, by the names that they have over HTTP."""


class CallMetrics(Protocol):
    """Where calls are counted; each namespace is one of the store's."""

    def finished(
        self, operation: str, namespace: str, status: str, *, seconds: float, upstream_s: float
    ) -> None: ...
    def refused_cold(self, namespace: str) -> None: ...
    def queried(
        self, namespace: str, status: str, *, has_filter: bool, has_rank_by: bool
    ) -> None: ...
    def written(self, namespace: str, rows_count: int, billable_bytes: int) -> None: ...
    def fetched(
        self, operation: str, namespace: str, result: str | None, *, ids_count: int, seconds: float
    ) -> None: ...


class Counting(Protocol):
    """A servicer that has somewhere to count."""

    @property
    def metrics(self) -> CallMetrics: ...


S = TypeVar("S", bound=Counting)
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Method = Callable[[S, Request, Any], Awaitable[Response]]


class _Call(Outcome):
    __slots__ = ("fetched",)

    def __init__(self) -> None:
        super().__init__()
        self.fetched: tuple[int, str] | None = None
        """Ids, and what the cache had of them."""


def counted(
    operation: str,
) -> Callable[[Method[S, Request, Response]], Method[S, Request, Response]]:
    """Count the calls of a method as the requests of ``operation`` are."""

    def wrap(method: Method[S, Request, Response]) -> Method[S, Request, Response]:
        @functools.wraps(method)
        async def call(servicer: S, request: Request, context: Any) -> Response:
            outcome, started_s = _Call(), time.perf_counter()
            response = None
            try:
                response = await method(servicer, request, context)
                outcome.answered(is_ok=True)
            except LayerError as error:
                outcome.failed(error)
                raise
            finally:
                seconds = time.perf_counter() - started_s
                _count(servicer.metrics, operation, outcome, request, response, seconds=seconds)
            return response

        return call

    return wrap


def looked_up(found: Fetched, ids_count: int) -> None:
    """Note what a lookup came to, for the call at hand."""
    cast("_Call", upstream_time.get()).fetched = (ids_count, found.result.value)


def _count(
    metrics: CallMetrics,
    operation: str,
    outcome: _Call,
    request: Message,
    response: Message | None,
    *,
    seconds: float,
) -> None:
    status = outcome.status
    if status is None:
        return
    namespace = getattr(request, "namespace", "")
    metrics.finished(operation, namespace, status, seconds=seconds, upstream_s=outcome.seconds)
    if outcome.is_cold:
        metrics.refused_cold(namespace)
    match request:
        case gateway_pb2.QueryRowsRequest():
            has_rank_by = request.WhichOneof("ranking") not in (None, "vector", "nearest")
            has_filter = request.HasField("filter")
            metrics.queried(namespace, status, has_filter=has_filter, has_rank_by=has_rank_by)
        case gateway_pb2.BatchQueryRowsRequest():
            metrics.queried(namespace, status, has_filter=False, has_rank_by=False)
        case gateway_pb2.LookupRowsRequest():
            ids_count, result = outcome.fetched or (len(request.ids), None)
            metrics.fetched(operation, namespace, result, ids_count=ids_count, seconds=seconds)
        case _:
            pass
    if isinstance(response, gateway_pb2.WriteRowsResponse):
        rows_count = response.upserted_count + response.patched_count
        metrics.written(namespace, rows_count, response.billable_written_bytes)
