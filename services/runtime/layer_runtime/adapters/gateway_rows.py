"""Rows by way of the gateway, over gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import grpc.aio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.clock import Monotonic
from layer_kit.errors import (
    DeadlineError,
    LayerError,
    QuotaExceededError,
    UnavailableError,
)
from layer_kit.rpc.context import outgoing_metadata
from layer_kit.rpc.errors import from_rpc_error
from layer_messages.filter_folding import fold_filter, is_foldable
from layer_messages.filter_parsing import parse_filter
from layer_messages.ids import UUID
from layer_messages.values import SIGNED_MAX
from layer_runtime.domain.items import Row, Scalar
from layer_runtime.domain.markers import Condition
from layer_runtime.domain.selectors import IndexSelector
from layer_runtime.ports.rows import RowWrite

Response = TypeVar("Response")

CALL_S_MAX: Final = 30.0
STREAM_S_MAX: Final = 3600.0
TYPES_TTL_S: Final = 5.0
NAMESPACES_REMEMBERED_MAX: Final = 1000
LIST_PAGE_SIZE: Final = 1000
VECTORS: Final = frozenset({"vector", "vectors"})
ID: Final = "id"
RETRY_AFTER_S: Final = 1.0
_KINDS: Final = {
    "uint": common_pb2.DOCUMENT_ID_KIND_INTEGER,
    "int": common_pb2.DOCUMENT_ID_KIND_INTEGER,
    "uuid": common_pb2.DOCUMENT_ID_KIND_UUID,
}


@dataclass(slots=True, kw_only=True)
class GatewayRows:
    """Reads and writes rows with the key of the runtime."""

    stub: gateway_pb2_grpc.GatewayServiceStub
    key: str
    monotonic: Monotonic
    _types: dict[str, tuple[float, Mapping[str, str]]] = field(default_factory=dict)
    """With when they were learnt."""

    async def types(self, namespace: str, *, having: str = "") -> Mapping[str, str]:
        known = self._types.get(namespace)
        is_young = known is not None and self.monotonic() - known[0] < TYPES_TTL_S
        if known is not None and is_young and (not having or having in known[1]):
            return known[1]
        return await self._learnt_types(namespace)

    async def _learnt_types(self, namespace: str) -> Mapping[str, str]:
        request = gateway_pb2.GetNamespaceRequest(namespace=namespace)
        found = (await self._call(self.stub.GetNamespace, request)).namespace
        types = {name: attribute.type for name, attribute in found.schema.items()}
        while len(self._types) >= NAMESPACES_REMEMBERED_MAX:
            self._types.pop(next(iter(self._types)))
        self._types[namespace] = self.monotonic(), types
        return types

    async def labelled(self, selector: IndexSelector) -> Sequence[str]:
        request = gateway_pb2.ListNamespacesRequest(page_size=LIST_PAGE_SIZE)
        found: list[str] = []
        while True:
            page = await self._call(self.stub.ListNamespaces, request)
            found += [
                namespace.name
                for namespace in page.namespaces
                if selector.matches(namespace.labels)
            ]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def lookup(
        self,
        namespace: str,
        ids: Sequence[str],
        *,
        names: Sequence[str] | None,
        scalars: Sequence[str],
    ) -> Mapping[str, Row]:
        wanted = None if names is None else [*dict.fromkeys([*names, *scalars])]
        request = gateway_pb2.LookupRowsRequest(
            namespace=namespace,
            ids=await self._ids(namespace, ids),
            attribute_names=[name for name in wanted or () if name not in VECTORS and name != ID],
            with_vectors=names is None or not VECTORS.isdisjoint(names),
        )
        if wanted is not None and not request.attribute_names and not request.with_vectors:
            request.ids_only = True
        answer = await self._call(self.stub.LookupRows, request)
        with_id = names is not None and ID in names
        rows = (_row(found.row, scalars, with_id=with_id) for found in answer.rows)
        return {row.id: row for row in rows}

    async def stream(
        self,
        namespace: str,
        *,
        own_filter: bytes,
        condition: Condition | None,
        names: Sequence[str] = (),
        scalars: Sequence[str] = (),
        after: str | None = None,
        page_size: int,
    ) -> AsyncGenerator[Sequence[Row]]:
        own = await self._folded(namespace, own_filter)
        if own is False:
            return
        request = gateway_pb2.StreamRowsRequest(
            namespace=namespace,
            filter=_joined(None if own is True else own, condition),
            attribute_names=[*dict.fromkeys([*names, *scalars])],
            ids_only=not names and not scalars,
            page_size=page_size,
        )
        if after is not None:
            request.after_id.CopyFrom((await self._ids(namespace, [after]))[0])
        call = self.stub.StreamRows(request, metadata=self._metadata(), timeout=STREAM_S_MAX)
        try:
            async for message in call:
                if message.rows:
                    yield [_row(row, scalars) for row in message.rows]
        except grpc.aio.AioRpcError as error:
            raise _told(from_rpc_error(error)) from error
        finally:
            call.cancel()

    async def write(
        self,
        namespace: str,
        *,
        patches: Sequence[RowWrite] = (),
        upserts: Sequence[RowWrite] = (),
        condition: Condition | None,
        schema: Mapping[str, str],
    ) -> set[str]:
        kind = await self._id_kind(namespace)
        request = gateway_pb2.WriteRowsRequest(
            namespace=namespace,
            patches=[_message(row, kind) for row in patches],
            upserts=[_message(row, kind) for row in upserts],
            schema={
                name: gateway_pb2.AttributeSchema(type=type_) for name, type_ in schema.items()
            },
            with_affected_ids=True,
            is_function_result=True,
        )
        if condition is not None:
            found = parse_filter(condition, "condition")
            target = request.patch_condition if patches else request.upsert_condition
            target.CopyFrom(found)
        answer = await self._call(self.stub.WriteRows, request)
        known = self._types.get(namespace)
        if known is not None and not _names(patches, upserts) <= known[1].keys():
            del self._types[namespace]
        return {id_.text for id_ in (*answer.patched_ids, *answer.upserted_ids)}

    async def erase(self, namespace: str, names: Sequence[str], where: Condition) -> None:
        request = gateway_pb2.WriteRowsRequest(
            namespace=namespace,
            patch_by_filter=gateway_pb2.PatchByFilter(
                filter=parse_filter(where, "where"),
                attributes={name: _value(None) for name in names},
                is_partial_allowed=True,
            ),
            is_function_result=True,
        )
        while (await self._call(self.stub.WriteRows, request)).has_remaining:
            pass

    async def _folded(self, namespace: str, own_filter: bytes) -> common_pb2.Filter | bool:
        """Return a user's filter as the namespace can be asked by it; True where there is none."""
        if not own_filter:
            return True
        tree = common_pb2.Filter.FromString(own_filter)
        types = await self.types(namespace)
        if is_foldable(tree, types.keys()):
            # The write that brings an attribute may be the very one that made its rows due.
            types = await self._learnt_types(namespace)
        return fold_filter(tree, types.keys())

    async def _ids(self, namespace: str, ids: Sequence[str]) -> list[common_pb2.DocumentId]:
        kind = await self._id_kind(namespace)
        return [common_pb2.DocumentId(kind=kind, text=_text(id_, kind)) for id_ in ids]

    async def _id_kind(self, namespace: str) -> common_pb2.DocumentIdKind.ValueType:
        type_ = (await self.types(namespace)).get(ID, "")
        return _KINDS.get(type_, common_pb2.DOCUMENT_ID_KIND_STRING)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (*outgoing_metadata(), ("authorization", f"Bearer {self.key}"))

    async def _call(self, method: Callable[..., Awaitable[Response]], request: object) -> Response:
        try:
            return await method(request, metadata=self._metadata(), timeout=CALL_S_MAX)
        except grpc.aio.AioRpcError as error:
            raise _told(from_rpc_error(error)) from error


def _told(error: LayerError) -> LayerError:
    """Return what a caller of ours hears: whatever keeps the gateway from answering is one."""
    if not isinstance(error, UnavailableError | QuotaExceededError | DeadlineError):
        return error
    pause_s = RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
    return UnavailableError(
        "GATEWAY_DOWN",
        f"The gateway cannot be used at the moment: {error.message}",
        retry_after_s=pause_s,
        cause=error.reason,
    )


def _joined(own: common_pb2.Filter | None, condition: Condition | None) -> common_pb2.Filter | None:
    parts = [] if own is None else [own]
    if condition is not None:
        parts.append(parse_filter(condition, "condition"))
    if len(parts) > 1:
        return common_pb2.Filter(all=common_pb2.FilterList(filters=parts))
    return parts[0] if parts else None


def _row(row: common_pb2.Row, scalars: Sequence[str], *, with_id: bool = False) -> Row:
    values = row.attributes
    attributes = {name: value.SerializeToString() for name, value in values.items()}
    if with_id:
        attributes[ID] = _id_value(row.id).SerializeToString()
    return Row(
        id=row.id.text,
        attributes=attributes,
        scalars={name: _scalar(values[name]) for name in scalars if name in values},
    )


def _id_value(id_: common_pb2.DocumentId) -> common_pb2.Value:
    if id_.kind != common_pb2.DOCUMENT_ID_KIND_INTEGER:
        return common_pb2.Value(string_value=id_.text)
    number = int(id_.text)
    if number <= SIGNED_MAX:
        return common_pb2.Value(int_value=number)
    return common_pb2.Value(large_int_value=id_.text)


def _scalar(value: common_pb2.Value) -> Scalar:
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case _:
            return None


def _message(row: RowWrite, kind: common_pb2.DocumentIdKind.ValueType) -> common_pb2.Row:
    message = common_pb2.Row(id=common_pb2.DocumentId(kind=kind, text=_text(row.id, kind)))
    for name, value in row.attributes.items():
        message.attributes[name].ParseFromString(value)
    for name, mark in row.marks.items():
        message.attributes[name].CopyFrom(_value(mark))
    return message


def _value(scalar: Scalar) -> common_pb2.Value:
    match scalar:
        case None:
            return common_pb2.Value(null_value=0)  # type: ignore[arg-type]  # its only value
        case int():
            return common_pb2.Value(int_value=scalar)
        case str():
            return common_pb2.Value(string_value=scalar)


def _text(id_: str, kind: common_pb2.DocumentIdKind.ValueType) -> str:
    """Return an id in the form of its kind; one that has none is looked for as it is."""
    if kind == common_pb2.DOCUMENT_ID_KIND_UUID and UUID.fullmatch(id_.lower()):
        return id_.lower()
    return id_


def _names(*writes: Sequence[RowWrite]) -> set[Any]:
    rows = [row for part in writes for row in part]
    return {name for row in rows for name in (*row.attributes, *row.marks)}
