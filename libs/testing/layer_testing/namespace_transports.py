"""Writing, reading and looking after namespaces over either transport, in one form for both."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar

import grpc.aio

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import CALL_S_MAX, KEY, integer, row, string_id

Answer = TypeVar("Answer")

_INIT_STATES: Final = {
    gateway_pb2.INIT_STATE_RUNNING: "running",
    gateway_pb2.INIT_STATE_READY: "ready",
}
_SHARD_STATES: Final = {
    gateway_pb2.SHARD_STATE_UNSHARDED: "unsharded",
    gateway_pb2.SHARD_STATE_BACKFILLING: "backfilling",
    gateway_pb2.SHARD_STATE_READY: "ready",
}


class RefusedError(Exception):
    """What either transport says when it says no.

    Args:
        kind: The contract's word for it.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A namespace as a transport shows it."""

    name: str
    row_count: int | None = None
    fields: frozenset[str] = frozenset()
    layer: Mapping[str, object] = field(default_factory=dict)


class NamespaceTransport(Protocol):
    """One way to the gateway. Every call raises ``RefusedError``."""

    async def write(self, name: str, numbers: Mapping[str, int]) -> int:
        """Write rows with a number each; return how many changed."""
        ...

    async def lookup(self, name: str, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the numbers of the rows that exist."""
        ...

    async def init(self, name: str, **wanted: int) -> Mapping[str, object]:
        """Initialise; return what layer says of it."""
        ...

    async def describe(self, name: str) -> Described: ...

    async def list(self, prefix: str) -> Sequence[Described]: ...

    async def delete(self, name: str) -> None: ...


class NamespacesOverHttp:
    """The HTTP edge."""

    def __init__(self, address: str) -> None:
        self._edge = EdgeCaller(address, key=KEY)

    async def write(self, name: str, numbers: Mapping[str, int]) -> int:
        rows = [{"id": id_, "n": number} for id_, number in numbers.items()]
        answer = await self._call("POST", f"/v2/namespaces/{name}", {"upsert_rows": rows})
        return int(answer["rows_affected"])

    async def lookup(self, name: str, ids: Sequence[str]) -> Mapping[str, int]:
        answer = await self._call("POST", f"/v2/namespaces/{name}/documents", {"ids": list(ids)})
        return {found["id"]: found["attributes"]["n"] for found in answer["documents"]}

    async def init(self, name: str, **wanted: int) -> Mapping[str, object]:
        answer = await self._call("POST", f"/v2/namespaces/{name}/init", wanted)
        return _known(answer["layer"])

    async def describe(self, name: str) -> Described:
        answer = await self._call("GET", f"/v2/namespaces/{name}/metadata")
        return Described(
            name=answer["id"],
            row_count=answer["approx_row_count"],
            fields=frozenset(answer["schema"]),
            layer=_known(answer["layer"]),
        )

    async def list(self, prefix: str) -> Sequence[Described]:
        answer = await self._call("GET", f"/v2/namespaces?prefix={prefix}")
        return [
            Described(
                name=entry["name"],
                row_count=entry["row_count"],
                fields=frozenset(entry["schema_summary"]["fields"]),
            )
            for entry in answer["namespaces"]
        ]

    async def delete(self, name: str) -> None:
        await self._call("DELETE", f"/v2/namespaces/{name}")

    async def _call(self, method: str, target: str, body: object = b"") -> Any:
        answer: EdgeAnswer = await self._edge(method, target, body)
        if answer.status != HTTPStatus.OK:
            raise RefusedError(answer.json["error"])
        return answer.json


class NamespacesOverRpc:
    """The typed API."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._options: dict[str, Any] = {
            "metadata": (("authorization", f"Bearer {KEY}"),),
            "timeout": CALL_S_MAX,
        }

    async def write(self, name: str, numbers: Mapping[str, int]) -> int:
        rows = [row(string_id(id_), n=integer(number)) for id_, number in numbers.items()]
        request = gateway_pb2.WriteRowsRequest(namespace=name, upserts=rows)
        return (await _answer(self._stub.WriteRows(request, **self._options))).affected_count

    async def lookup(self, name: str, ids: Sequence[str]) -> Mapping[str, int]:
        request = gateway_pb2.LookupRowsRequest(namespace=name, ids=[string_id(id_) for id_ in ids])
        answer = await _answer(self._stub.LookupRows(request, **self._options))
        return {found.row.id.text: found.row.attributes["n"].int_value for found in answer.rows}

    async def init(self, name: str, **wanted: int) -> Mapping[str, object]:
        request = gateway_pb2.InitNamespaceRequest(namespace=name, **wanted)
        answer = await _answer(self._stub.InitNamespace(request, **self._options))
        return _layer(answer.layer)

    async def describe(self, name: str) -> Described:
        request = gateway_pb2.GetNamespaceRequest(namespace=name)
        found = (await _answer(self._stub.GetNamespace(request, **self._options))).namespace
        return Described(
            name=found.name,
            row_count=found.row_count,
            fields=frozenset(found.schema),
            layer=_layer(found.layer),
        )

    async def list(self, prefix: str) -> Sequence[Described]:
        request = gateway_pb2.ListNamespacesRequest(name_prefix=prefix)
        answer = await _answer(self._stub.ListNamespaces(request, **self._options))
        return [
            Described(name=one.name, row_count=one.row_count, fields=frozenset(one.schema))
            for one in answer.namespaces
        ]

    async def delete(self, name: str) -> None:
        request = gateway_pb2.DeleteNamespaceRequest(namespace=name)
        await _answer(self._stub.DeleteNamespace(request, **self._options))


async def _answer(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        found = from_rpc_error(error)
        if not isinstance(found, LayerError):
            raise
        raise RefusedError(found.http_error) from error


def _known(layer: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in layer.items() if value is not None}


def _layer(found: gateway_pb2.LayerState) -> Mapping[str, object]:
    """Return a state with the names of the contract, and only what is known."""
    counts = {
        "stable_as_of": found.stable_as_of_ms if found.HasField("stable_as_of_ms") else None,
        "schema_version": found.schema_version if found.HasField("schema_version") else None,
        "init_lag_rows": (
            found.init_lag_row_count if found.HasField("init_lag_row_count") else None
        ),
        "shard_count": found.shard_count if found.HasField("shard_count") else None,
        "shard_lag_rows": (
            found.shard_lag_row_count if found.HasField("shard_lag_row_count") else None
        ),
    }
    return {
        "is_stable": found.is_stable,
        "init_state": _INIT_STATES[found.init_state],
        "shard_state": _SHARD_STATES[found.shard_state],
        "scatter_gather_active": found.is_scatter_gather_active,
        **_known(counts),
    }
