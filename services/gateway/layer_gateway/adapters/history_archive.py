"""The history service as the place to ask what happened, in the contract's words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from layer.history.v1 import history_pb2, history_pb2_grpc
from layer_gateway.domain.history import HistoryPage, HistoryPolicy, HistoryRedaction, HistoryWanted
from layer_kit.errors import UnavailableError, UpstreamError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke
from layer_wire.jsontext import Raw

_SOURCES: Final = {
    history_pb2.CLICK_SOURCE_SINGLE: "single",
    history_pb2.CLICK_SOURCE_BATCH: "batch",
}
_SERVED_FROM: Final = {
    history_pb2.SERVED_FROM_CACHE: "cache",
    history_pb2.SERVED_FROM_UPSTREAM: "upstream",
}
_REDACTIONS: Final[dict[HistoryRedaction, history_pb2.Redaction.ValueType]] = {
    "keep": history_pb2.REDACTION_KEEP,
    "hash": history_pb2.REDACTION_HASH,
    "drop": history_pb2.REDACTION_DROP,
}
_REDACTION_NAMES: Final = {value: name for name, value in _REDACTIONS.items()}

Response = TypeVar("Response")


class HistoryArchiveService:
    """Asks the service, and renders entries as history's routes answer them."""

    def __init__(self, stub: history_pb2_grpc.HistoryServiceStub, *, timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def queries(self, namespace: Namespace, wanted: HistoryWanted) -> HistoryPage:
        request = history_pb2.ListQueriesRequest(**_list_fields(namespace, wanted))
        page = await self._call(self._stub.ListQueries, request)
        return HistoryPage(entries=_queries(page.queries), next_cursor=page.next_page_token or None)

    async def clicks(self, namespace: Namespace, wanted: HistoryWanted) -> HistoryPage:
        request = history_pb2.ListClicksRequest(
            **_list_fields(namespace, wanted), trace_id=wanted.trace_id
        )
        page = await self._call(self._stub.ListClicks, request)
        return HistoryPage(entries=_clicks(page.clicks), next_cursor=page.next_page_token or None)

    async def session(self, namespace: Namespace, trace_id: str) -> dict[str, object]:
        request = history_pb2.GetTraceRequest(namespace=namespace, trace_id=trace_id)
        trace = await self._call(self._stub.GetTrace, request)
        return {
            "trace_id": trace_id,
            "namespace": namespace,
            "queries": _queries(trace.queries),
            "clicks": _clicks(trace.clicks),
            "truncated": trace.is_truncated,
        }

    async def policy(self, namespace: Namespace) -> dict[str, object]:
        request = history_pb2.GetHistoryPolicyRequest(namespace=namespace)
        return _policy((await self._call(self._stub.GetHistoryPolicy, request)).policy)

    async def set_policy(self, namespace: Namespace, policy: HistoryPolicy) -> dict[str, object]:
        request = history_pb2.UpdateHistoryPolicyRequest(
            namespace=namespace,
            policy=history_pb2.HistoryPolicy(
                query_retention_s=policy.query_retention_s,
                click_retention_s=policy.click_retention_s,
                raw_query_redaction=_REDACTIONS[policy.raw_query],
                redaction_patterns=policy.redaction_patterns,
                filter_redaction=_REDACTIONS[policy.filters],
            ),
        )
        return _policy((await self._call(self._stub.UpdateHistoryPolicy, request)).policy)

    async def purge(self, namespace: Namespace) -> int:
        request = history_pb2.DeleteNamespaceHistoryRequest(namespace=namespace)
        answer = await self._call(self._stub.DeleteNamespaceHistory, request)
        return answer.deleted_object_count

    async def _call(self, method: Callable[..., Awaitable[Response]], request: object) -> Response:
        try:
            return await invoke(method, request, timeout_s=self._timeout_s)
        except UnavailableError as error:
            # The contract answers a history that cannot be read with 502, whatever is away.
            away = UpstreamError(error.reason, error.message)
            away.metadata = error.metadata
            raise away from error


def _list_fields(namespace: Namespace, wanted: HistoryWanted) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "page_size": wanted.limit,
        "tags": wanted.tags,
        "before_ns": wanted.before_ns,
        "start_time": _stamp(wanted.from_ns),
        "end_time": _stamp(wanted.to_ns),
    }


def _queries(queries: Iterable[history_pb2.QueryEvent]) -> list[dict[str, object]]:
    return [_query(query) for query in queries]


def _query(query: history_pb2.QueryEvent) -> dict[str, object]:
    found: dict[str, object] = {
        "timestamp": _rfc3339(query.event_time_ns),
        "timestamp_nanos": query.event_time_ns,
        "namespace": query.namespace,
    }
    if query.trace_id:
        found["trace_id"] = query.trace_id
    if query.raw_query:
        found["raw_query"] = query.raw_query
    if query.HasField("stable_as_of_ms"):
        found["stable_as_of"] = query.stable_as_of_ms
    found["query"] = Raw(query.summary_json)
    found["top_result_ids"] = list(query.top_result_ids)
    found["tags"] = list(query.tags)
    return found


def _clicks(clicks: Iterable[history_pb2.ClickEvent]) -> list[dict[str, object]]:
    return [
        {
            "timestamp": _rfc3339(click.event_time_ns),
            "timestamp_nanos": click.event_time_ns,
            "trace_id": click.trace_id,
            "namespace": click.namespace,
            "doc_id": click.document_id,
            "tags": list(click.tags),
            "source": _SOURCES.get(click.source, ""),
            "served_from": _SERVED_FROM.get(click.served_from, ""),
        }
        for click in clicks
    ]


def _policy(policy: history_pb2.HistoryPolicy) -> dict[str, object]:
    return {
        "query_retention_s": policy.query_retention_s,
        "click_retention_s": policy.click_retention_s,
        "raw_query": _REDACTION_NAMES.get(policy.raw_query_redaction, "keep"),
        "redaction_patterns": list(policy.redaction_patterns),
        "filters": _REDACTION_NAMES.get(policy.filter_redaction, "keep"),
    }


def _rfc3339(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def _stamp(time_ns: int | None) -> Timestamp | None:
    if time_ns is None:
        return None
    stamp = Timestamp()
    stamp.FromNanoseconds(time_ns)
    return stamp
