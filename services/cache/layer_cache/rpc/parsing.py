"""Requests about rows, made what the application takes, or refused."""

from __future__ import annotations

from collections.abc import Sequence

from layer.cache.v1 import cache_pb2
from layer_cache.application.found import WHOLE_BODY, Projection
from layer_cache.application.reads import Selection
from layer_cache.application.sessions import DirtySet
from layer_cache.application.writes import Settlement
from layer_cache.domain.fences import FenceName
from layer_cache.domain.limits import (
    ATTRIBUTE_NAMES_MAX,
    DIRTY_IDS_MAX,
    DIRTY_NAMESPACES_MAX,
    FENCE_ID_BYTES_MAX,
    IDS_PER_FENCE_MAX,
)
from layer_cache.domain.rows import RowKey, row_keys
from layer_cache.rpc.columns import check_columns
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace
from layer_wire.filters import both, upserted_until
from layer_wire.jsontext import Raw
from layer_wire.reserved import UPSERTED_AT
from layer_wire.row_filters import compile_filter


def dirty_set_of(request: cache_pb2.OpenSessionRequest) -> DirtySet:
    """Return what a member says that it wrote without a fence.

    Raises:
        InvalidRequestError: ``COLUMNS_DIFFER``, ``TOO_MANY_DIRTY_IDS``, ``ID_INVALID``,
            ``NAMESPACE_INVALID``.
    """
    names, ids = request.dirty_id_namespaces, request.dirty_ids
    check_columns(dirty_id_namespaces=names, dirty_ids=ids)
    if len(ids) > DIRTY_IDS_MAX or len(request.dirty_namespaces) > DIRTY_NAMESPACES_MAX:
        raise InvalidRequestError(
            "TOO_MANY_DIRTY_IDS",
            f"Above {DIRTY_IDS_MAX} dirty ids name namespaces instead, and above "
            f"{DIRTY_NAMESPACES_MAX} of those say that everything is dirty.",
            ids_max=DIRTY_IDS_MAX,
            namespaces_max=DIRTY_NAMESPACES_MAX,
        )
    by_namespace: dict[str, list[bytes]] = {}
    for name, row_id in zip(names, ids, strict=True):
        by_namespace.setdefault(name, []).append(row_id)
    return DirtySet(
        keys=[
            key
            for name, ids_of_one in by_namespace.items()
            for key in row_keys(
                parse_namespace(name), ids_of_one, count_max=DIRTY_IDS_MAX, field="dirty_ids"
            )
        ],
        namespaces=[parse_namespace(name) for name in request.dirty_namespaces],
        is_everything=request.is_everything_dirty,
    )


def settlement_of(namespace: Namespace, request: cache_pb2.SettleRowsRequest) -> Settlement:
    """Return what an upstream write did.

    Raises:
        InvalidRequestError: ``COLUMNS_DIFFER``, ``TOO_MANY_IDS``, ``ID_INVALID``.
    """
    vectors = vector_column(request.put_vectors[:], len(request.put_ids))
    check_columns(put_ids=request.put_ids, put_bodies=request.put_bodies, put_vectors=vectors)
    check_columns(patch_ids=request.patch_ids, patch_bodies=request.patch_bodies)

    def keys(field: str) -> list[RowKey]:
        ids = getattr(request, field)[:]
        return row_keys(namespace, ids, count_max=IDS_PER_FENCE_MAX, field=field)

    rows = zip(request.put_bodies[:], vectors, strict=True)
    return Settlement(
        puts=dict(zip(keys("put_ids"), rows, strict=True)),
        patches=dict(zip(keys("patch_ids"), request.patch_bodies[:], strict=True)),
        lifts=frozenset(keys("lift_ids")),
        is_outcome_known=request.is_outcome_known,
        is_partial=request.is_partial,
    )


def fence_name_of(namespace: str, fence_id: bytes) -> FenceName:
    """Return the name of a fence.

    Raises:
        InvalidRequestError: ``FENCE_ID_INVALID``, ``NAMESPACE_INVALID``.
    """
    if not 1 <= len(fence_id) <= FENCE_ID_BYTES_MAX:
        raise InvalidRequestError(
            "FENCE_ID_INVALID",
            f"A fence id must have 1 to {FENCE_ID_BYTES_MAX} bytes.",
            bytes_max=FENCE_ID_BYTES_MAX,
        )
    return FenceName(parse_namespace(namespace), fence_id)


def selection_of(asked: cache_pb2.RowSelection) -> Selection:
    """Return which rows are wanted.

    Raises:
        UnsupportedError: ``FILTER_UNSUPPORTED``.
    """
    kept = Raw(asked.filter) if asked.filter else None
    types = dict(asked.attribute_types)
    if asked.HasField("upserted_until_ms"):
        kept = both(kept, upserted_until(asked.upserted_until_ms))
        types[UPSERTED_AT] = "int"
    return Selection(filter=None if kept is None else compile_filter(kept, types))


def projection_of(asked: cache_pb2.LookupRowsRequest) -> Projection:
    """Return which part of each row is wanted.

    Raises:
        InvalidRequestError: ``TOO_MANY_ATTRIBUTES``, ``ATTRIBUTE_NAME_INVALID``.
    """
    names = asked.attribute_names
    if not (names or asked.with_vectors or asked.ids_only):
        return WHOLE_BODY  # made anew it would cost as much as finding a row
    return Projection(
        with_vectors=asked.with_vectors,
        attribute_names=attribute_names_of(names),
        ids_only=asked.ids_only,
    )


def attribute_names_of(names: Sequence[str]) -> Sequence[str]:
    """Check the names of attributes, and return them.

    Raises:
        InvalidRequestError: ``TOO_MANY_ATTRIBUTES``, ``ATTRIBUTE_NAME_INVALID``.
    """
    if len(names) > ATTRIBUTE_NAMES_MAX:
        raise InvalidRequestError(
            "TOO_MANY_ATTRIBUTES",
            f"Name at most {ATTRIBUTE_NAMES_MAX} attributes, or none for all.",
            count_max=ATTRIBUTE_NAMES_MAX,
        )
    if "" in names:
        raise InvalidRequestError(
            "ATTRIBUTE_NAME_INVALID", "None of attribute_names may be empty; name none for all."
        )
    return names


def vector_column(vectors: Sequence[bytes], count: int) -> Sequence[bytes]:
    """Return the column, filled up when it was left out altogether."""
    return vectors or [b""] * count
