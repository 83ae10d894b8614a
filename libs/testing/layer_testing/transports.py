"""The gateway's two transports in one form, so that a suite can hold both to the same behaviour.

A case has its call in the words of either transport and one expectation. What a transport shows of
an answer is brought to a common form here; what only one of them has is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Protocol

import grpc.aio
import msgspec

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import CALL_S_MAX, KEY

_ROUTES: Final = {
    gateway_pb2.SEARCH_ROUTE_HYBRID_TEXT: "hybrid_text",
    gateway_pb2.SEARCH_ROUTE_SEMANTIC: "semantic",
    gateway_pb2.SEARCH_ROUTE_FUSED: "fused",
}
_METHODS: Final = {
    gateway_pb2.MERGE_METHOD_DISTANCE: "distance",
    gateway_pb2.MERGE_METHOD_RANK_INTERLEAVE: "rank-interleave",
}
_DOWNGRADES: Final = {
    gateway_pb2.MERGE_DOWNGRADE_MISSING_EMBEDDING_PROFILE: "missing_embedding_profile",
    gateway_pb2.MERGE_DOWNGRADE_EMBEDDING_PROFILE_MISMATCH: "embedding_profile_mismatch",
}
_HYBRID_KEYS: Final = {
    "tokens": "tokens",
    "tokens_dropped": "dropped_token_count",
    "stopwords_dropped": "dropped_stop_word_count",
    "rank_constant": "rank_constant",
    "legs": "leg_count",
    "per_leg_limit": "per_leg_limit",
}
_CLASSES: Final = {401: "UPSTREAM_REFUSED", 403: "UPSTREAM_REFUSED", 404: "NAMESPACE_NOT_FOUND"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A row in an answer."""

    id: str
    value: float | None = None
    """Its distance or score."""
    attributes: Mapping[str, object] = field(default_factory=dict)
    legs: Sequence[tuple[str, int | None]] = ()
    namespace: str = ""
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a transport said."""

    reason: str = ""
    """Of an error; the rest is then empty."""
    rows: Sequence[Place] = ()
    next_page: str = ""
    stable_as_of_ms: int | None = None
    hybrid: Mapping[str, object] | None = None
    routing: Mapping[str, object] | None = None
    merge: Mapping[str, object] | None = None
    matched: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return [row.id for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One query in the words of both transports."""

    http: Mapping[str, object]
    rpc: gateway_pb2.QueryRowsRequest
    namespaces: Sequence[str] | None = None
    """For a federated query; None for one of a single namespace."""
    federation: Mapping[str, object] = field(default_factory=dict)
    """Fields of a federated body, besides ``namespaces``."""

    def next(self, page: str) -> Call:
        """Return the call for the page that follows."""
        rpc = gateway_pb2.QueryRowsRequest()
        rpc.CopyFrom(self.rpc)
        rpc.page_token = page
        return Call(http={**self.http, "cursor": page}, rpc=rpc)


class Transport(Protocol):
    """One way to the gateway."""

    async def query(self, namespace: str, call: Call) -> Told: ...

    async def query_together(
        self, namespace: str, calls: Sequence[Call], *, as_of_ms: int | None = None
    ) -> tuple[str, list[list[Place]]]:
        """Run several queries in one; return the reason of an error, or the rows of each."""
        ...


class OverHttp:
    """The HTTP edge."""

    def __init__(self, address: str) -> None:
        self._edge = EdgeCaller(address, key=KEY)

    async def query(self, namespace: str, call: Call) -> Told:
        if call.namespaces is None:
            path, body = f"/v2/namespaces/{namespace}/query", dict(call.http)
        else:
            path = "/v2/query"
            body = {**call.http, **call.federation, "namespaces": list(call.namespaces)}
        answer = await self._edge("POST", path, body)
        return _told(answer) if answer.status == HTTPStatus.OK else Told(reason=_reason(answer))

    async def query_together(
        self, namespace: str, calls: Sequence[Call], *, as_of_ms: int | None = None
    ) -> tuple[str, list[list[Place]]]:
        body: dict[str, object] = {"queries": [call.http for call in calls]}
        if as_of_ms is not None:
            body["as_of"] = as_of_ms
        answer = await self._edge("POST", f"/v2/namespaces/{namespace}/query", body)
        if answer.status != HTTPStatus.OK:
            return _reason(answer), []
        results = answer.json["results"]
        return "", [[_http_place(row) for row in result["rows"]] for result in results]


class OverRpc:
    """The typed API."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {KEY}"),)

    async def query(self, namespace: str, call: Call) -> Told:
        try:
            if call.namespaces is None:
                return await self._query(namespace, call)
            return await self._query_namespaces(call)
        except grpc.aio.AioRpcError as error:
            found = from_rpc_error(error)
            if not isinstance(found, LayerError):
                raise
            return Told(reason=found.reason)

    async def query_together(
        self, namespace: str, calls: Sequence[Call], *, as_of_ms: int | None = None
    ) -> tuple[str, list[list[Place]]]:
        request = gateway_pb2.BatchQueryRowsRequest(
            namespace=namespace, queries=[call.rpc for call in calls]
        )
        if as_of_ms is not None:
            request.as_of_ms = as_of_ms
        try:
            answer = await self._stub.BatchQueryRows(
                request, metadata=self._metadata, timeout=CALL_S_MAX
            )
        except grpc.aio.AioRpcError as error:
            found = from_rpc_error(error)
            if not isinstance(found, LayerError):
                raise
            return found.reason, []
        return "", [[_place(row) for row in result.rows] for result in answer.results]

    async def _query(self, namespace: str, call: Call) -> Told:
        request = gateway_pb2.QueryRowsRequest()
        request.CopyFrom(call.rpc)
        request.namespace = namespace
        answer = await self._stub.QueryRows(request, metadata=self._metadata, timeout=CALL_S_MAX)
        return Told(
            rows=[_place(row) for row in answer.rows],
            next_page=answer.next_page_token,
            stable_as_of_ms=_optional(answer, "stable_as_of_ms"),
            hybrid=_hybrid(answer),
            routing=_routing(answer),
        )

    async def _query_namespaces(self, call: Call) -> Told:
        fusion: Any = call.federation.get("fusion", {})
        request = gateway_pb2.QueryNamespacesRequest(
            namespaces=call.namespaces or (),
            query=call.rpc,
            is_strict=bool(call.federation.get("strict")),
            per_namespace_limit=fusion.get("per_namespace_limit", 0),
        )
        answer = await self._stub.QueryNamespaces(
            request, metadata=self._metadata, timeout=CALL_S_MAX
        )
        merge = {"method": _METHODS[answer.merge_method], "route": "fused"}
        if answer.merge_downgrade:
            merge["downgraded_reason"] = _DOWNGRADES[answer.merge_downgrade]
        return Told(
            rows=[_place(row.ranked_row, row.namespace, row.rank) for row in answer.rows],
            stable_as_of_ms=_optional(answer, "stable_as_of_ms"),
            hybrid=_hybrid(answer),
            routing=_routing(answer),
            merge=merge,
            matched={one.namespace: one.matched_count for one in answer.results},
            failures={one.namespace: one.code for one in answer.failures},
        )


def _reason(answer: EdgeAnswer) -> str:
    """Return the reason of layer's own errors, and what typed calls call those of the store."""
    try:
        told = msgspec.json.decode(answer.body, type=dict[str, Any]).get("reason")
    except msgspec.DecodeError:
        told = None
    if told is not None:
        return str(told)
    return _CLASSES.get(answer.status, "UPSTREAM_REFUSED")


def _told(answer: EdgeAnswer) -> Told:
    body = answer.json
    watermark = dict(answer.headers).get("x-layer-stable-as-of")
    hybrid = body.get("hybrid")
    if hybrid is not None:
        hybrid = {key: hybrid[key] for key in _HYBRID_KEYS} | {
            "surfaced": hybrid.get("surfaced", False),
            "threads": hybrid.get("threads"),
        }
    return Told(
        rows=[_http_place(row) for row in body["rows"]],
        next_page=body.get("next_cursor") or "",
        stable_as_of_ms=None if watermark is None else int(watermark),
        hybrid=hybrid,
        routing=body.get("routing"),
        merge=body.get("merge"),
        matched={one["namespace"]: one["matched"] for one in body.get("namespaces", ())},
        failures={one["namespace"]: one["code"] for one in body.get("errors", ())},
    )


def _http_place(row: dict[str, Any]) -> Place:
    fused = row.get("$fused", {"legs": ()})
    return Place(
        id=str(row["id"]),
        value=row.get("$score", row.get("$dist")),
        attributes={k: v for k, v in row.items() if k != "id" and k[0] not in "$_"},
        legs=[(leg["leg"], leg["rank"]) for leg in fused["legs"]],
        namespace=row.get("$namespace", ""),
        rank=row.get("$rank", 0),
    )


def _place(found: gateway_pb2.RankedRow, namespace: str = "", rank: int = 0) -> Place:
    distance, score = _optional(found, "distance"), _optional(found, "score")
    return Place(
        id=found.row.id.text,
        value=score if distance is None else distance,
        attributes={
            name: _value(value)
            for name, value in found.row.attributes.items()
            if not name.startswith("_")
        },
        legs=[(leg.leg, _optional(leg, "rank")) for leg in found.legs],
        namespace=namespace,
        rank=rank,
    )


def _value(value: common_pb2.Value) -> object:
    kind = value.WhichOneof("kind")
    if kind is None:
        raise AssertionError("a value of a row has a kind")
    return getattr(value, kind)


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


def _hybrid(answer: Any) -> dict[str, object] | None:
    if not answer.HasField("hybrid"):
        return None
    found = {key: getattr(answer.hybrid, name) for key, name in _HYBRID_KEYS.items()}
    found["tokens"] = list(answer.hybrid.tokens)
    found["surfaced"] = answer.hybrid.is_surfaced
    found["threads"] = _optional(answer.hybrid, "thread_count")
    return found


def _routing(answer: Any) -> dict[str, object] | None:
    if not answer.HasField("routing"):
        return None
    return {
        "route": _ROUTES[answer.routing.route],
        "policy": "forced" if answer.routing.is_forced else "v1",
        "tokens": answer.routing.token_count,
        "executed": answer.routing.is_executed,
    }
