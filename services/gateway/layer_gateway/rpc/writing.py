"""Writes and copies: the typed request to the store's own body, its answer to the typed one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_gateway.ports.stores import StoreAnswer
from layer_gateway.rpc.rows import ID, attributes_json, row_json
from layer_gateway.rpc.schema import schema_json
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace
from layer_messages.filters import filter_json
from layer_messages.ids import id_json, id_message, kind_of
from layer_wire.ids import IdKind, JsonId, decode_ids
from layer_wire.jsontext import Raw, encode, is_null
from layer_wire.rows import read_answer

UUID_TYPE: Final = "uuid"
METRICS: Final = {
    common_pb2.DISTANCE_METRIC_COSINE_DISTANCE: "cosine_distance",
    common_pb2.DISTANCE_METRIC_EUCLIDEAN_SQUARED: "euclidean_squared",
}
_CONDITIONS: Final = ("upsert_condition", "patch_condition", "delete_condition")


class _Billing(msgspec.Struct, frozen=True):
    billable_logical_bytes_written: int = 0


class _Answer(msgspec.Struct, frozen=True):
    rows_affected: int = 0
    rows_upserted: int = 0
    rows_patched: int = 0
    rows_deleted: int = 0
    rows_remaining: bool = False
    upserted_ids: Raw = Raw(b"[]")
    patched_ids: Raw = Raw(b"[]")
    deleted_ids: Raw = Raw(b"[]")
    billing: _Billing = _Billing()


_ANSWER: Final[msgspec.json.Decoder[_Answer]] = msgspec.json.Decoder(_Answer)


def write_body(request: gateway_pb2.WriteRowsRequest) -> bytes:
    """Return the native body of a write, with only the fields that were set.

    Raises:
        InvalidRequestError: ``ID_INVALID``, ``ROW_INVALID``, ``VALUE_INVALID``,
            ``VECTOR_INVALID``, ``FILTER_INVALID`` or ``SCHEMA_INVALID``.
    """
    fields: dict[str, object] = {}
    if request.upserts:
        fields["upsert_rows"] = _rows(request.upserts, "upserts")
    if request.patches:
        fields["patch_rows"] = _rows(request.patches, "patches")
    if request.deletes:
        ids = enumerate(request.deletes)
        fields["deletes"] = [id_json(id_, f"deletes[{at}]") for at, id_ in ids]
    fields |= _by_filter(request)
    for name in _CONDITIONS:
        if request.HasField(name):
            fields[name] = filter_json(getattr(request, name), name, is_condition=True)
    if schema := _schema(request):
        fields["schema"] = schema
    if fields and request.distance_metric:
        fields["distance_metric"] = _metric(request.distance_metric)
    if fields and request.with_affected_ids:
        fields["return_affected_ids"] = True
    return encode(fields)


def write_response(
    request: gateway_pb2.WriteRowsRequest, answer: StoreAnswer, id_kind: IdKind | None
) -> gateway_pb2.WriteRowsResponse:
    """Return what the store answered; ``id_kind`` is that of the namespace before the write."""
    found = read_answer(_ANSWER, answer.body)
    response = gateway_pb2.WriteRowsResponse(
        affected_count=found.rows_affected,
        upserted_count=found.rows_upserted,
        patched_count=found.rows_patched,
        deleted_count=found.rows_deleted,
        has_remaining=found.rows_remaining,
        billable_written_bytes=found.billing.billable_logical_bytes_written,
    )
    if request.with_affected_ids:
        kind = IdKind.UUID if _brings_uuids(request) else id_kind
        response.upserted_ids.extend(id_message(id_, kind) for id_ in _ids(found.upserted_ids))
        response.patched_ids.extend(id_message(id_, kind) for id_ in _ids(found.patched_ids))
        response.deleted_ids.extend(id_message(id_, kind) for id_ in _ids(found.deleted_ids))
    return response


def copy_body(request: gateway_pb2.CopyNamespaceRequest) -> bytes:
    """Return the body of a copy or a branch, as the store reads it.

    Raises:
        InvalidRequestError: ``NAMESPACE_INVALID``, ``COPY_INVALID``.
    """
    source: dict[str, str] = {"source_namespace": parse_namespace(request.source_namespace)}
    further = {
        name: value
        for name in ("source_region", "source_api_key")
        if (value := getattr(request, name))
    }
    if not request.is_branch:
        return encode({"copy_from_namespace": source | further})
    for name in further:
        raise InvalidRequestError("COPY_INVALID", f"{name} is not for a branch.", field=name)
    return encode({"branch_from_namespace": source})


def copy_response(answer: StoreAnswer) -> gateway_pb2.CopyNamespaceResponse:
    found = read_answer(_ANSWER, answer.body)
    return gateway_pb2.CopyNamespaceResponse(
        affected_count=found.rows_affected,
        billable_written_bytes=found.billing.billable_logical_bytes_written,
    )


def _rows(rows: Iterable[common_pb2.Row], name: str) -> list[dict[str, object]]:
    return [row_json(row, f"{name}[{at}]") for at, row in enumerate(rows)]


def _by_filter(request: gateway_pb2.WriteRowsRequest) -> dict[str, object]:
    fields: dict[str, object] = {}
    if request.HasField("delete_by_filter"):
        name, deletion = "delete_by_filter", request.delete_by_filter
        fields[name] = filter_json(deletion.filter, f"{name}.filter")
        fields[f"{name}_allow_partial"] = deletion.is_partial_allowed
    if request.HasField("patch_by_filter"):
        name, patch = "patch_by_filter", request.patch_by_filter
        fields[name] = {
            "filters": filter_json(patch.filter, f"{name}.filter"),
            "patch": attributes_json(patch.attributes.items(), f"{name}.attributes"),
        }
        fields[f"{name}_allow_partial"] = patch.is_partial_allowed
    return fields


def _schema(request: gateway_pb2.WriteRowsRequest) -> dict[str, object]:
    """Return the schema to send: the store takes ids for strings unless it is told of UUIDs."""
    schema = schema_json(request.schema)
    if _brings_uuids(request):
        schema.setdefault(ID, {"type": UUID_TYPE})
    return schema


def _brings_uuids(request: gateway_pb2.WriteRowsRequest) -> bool:
    return any(kind_of(row.id) is IdKind.UUID for row in request.upserts)


def _metric(metric: common_pb2.DistanceMetric.ValueType) -> str:
    if metric not in METRICS:
        raise InvalidRequestError(
            "DISTANCE_METRIC_UNKNOWN",
            f"distance_metric {metric} is none that this gateway knows.",
            distance_metric=metric,
        )
    return METRICS[metric]


def _ids(text: Raw) -> list[JsonId]:
    return [] if is_null(text) else decode_ids(text, where="affected ids")
