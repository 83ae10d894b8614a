"""Namespaces: what the use cases tell of them, as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.layer_state import LayerState
from layer_gateway.application.listings import ListedNamespace, Metadata, NamespacePage
from layer_gateway.application.migrating import Manifest
from layer_gateway.domain.warmth import NamespaceWarmth, WarmState
from layer_gateway.rpc.reading import page_size
from layer_gateway.rpc.schema import fill_schema
from layer_kit.names import Namespace
from layer_wire.jsontext import Raw, RawObject, encode
from layer_wire.moments import epoch_ms
from layer_wire.rows import read_answer

LISTED_DEFAULT: Final = 100
LISTED_MAX: Final = 1000

_INDEX_STATUS: Final = {
    "updating": gateway_pb2.INDEX_STATUS_UPDATING,
    "up-to-date": gateway_pb2.INDEX_STATUS_UP_TO_DATE,
}
_INIT_STATES: Final = {
    "running": gateway_pb2.INIT_STATE_RUNNING,
    "ready": gateway_pb2.INIT_STATE_READY,
}
_SHARD_STATES: Final = {
    "unsharded": gateway_pb2.SHARD_STATE_UNSHARDED,
    "backfilling": gateway_pb2.SHARD_STATE_BACKFILLING,
    "ready": gateway_pb2.SHARD_STATE_READY,
}
_WARMTH: Final = {
    WarmState.COLD: gateway_pb2.CACHE_WARMTH_COLD,
    WarmState.WARMING: gateway_pb2.CACHE_WARMTH_WARMING,
    WarmState.WARM: gateway_pb2.CACHE_WARMTH_WARM,
}


class _Index(msgspec.Struct, frozen=True):
    status: str | None = None
    unindexed_bytes: int = 0


class _Described(Metadata):
    layer: LayerState = LayerState()


_DESCRIBED: Final[msgspec.json.Decoder[_Described]] = msgspec.json.Decoder(_Described)
_INDEX: Final[msgspec.json.Decoder[_Index]] = msgspec.json.Decoder(_Index)


def list_query(request: gateway_pb2.ListNamespacesRequest) -> str:
    """Return the query string of a listing, as the contract has it.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``.
    """
    size = page_size(request.page_size, default=LISTED_DEFAULT, most=LISTED_MAX)
    fields = {"page_size": size, "prefix": request.name_prefix, "cursor": request.page_token}
    return urlencode({name: value for name, value in fields.items() if value})


def list_response(page: NamespacePage) -> gateway_pb2.ListNamespacesResponse:
    """Return a page of a listing."""
    return gateway_pb2.ListNamespacesResponse(
        namespaces=[_listed(listed) for listed in page.namespaces],
        next_page_token=page.next_cursor or "",
    )


def described(
    name: Namespace, found: RawObject, warmth: NamespaceWarmth, labels: Mapping[str, str]
) -> gateway_pb2.Namespace:
    """Return a namespace with what layer knows of it."""
    metadata = read_answer(_DESCRIBED, encode(found))
    message = gateway_pb2.Namespace(
        name=name,
        is_shadow=ListedNamespace(name=name).is_shadow,
        labels=labels,
        layer=layer_message(metadata.layer),
    )
    _fill_metadata(message, metadata)
    message.cache.CopyFrom(_cache(warmth))
    return message


def migration_response(manifest: Manifest) -> gateway_pb2.MigrateShardsResponse:
    """Return how far a migration is."""
    response = gateway_pb2.MigrateShardsResponse(
        shard_count=manifest.shard_count, migrated_row_count=manifest.documents_migrated
    )
    if (completed_ms := epoch_ms(manifest.completed_at or "")) is not None:
        response.complete_time.FromMilliseconds(completed_ms)
    return response


def _listed(listed: ListedNamespace) -> gateway_pb2.Namespace:
    message = gateway_pb2.Namespace(
        name=listed.name,
        is_shadow=listed.is_shadow,
        metadata_error=listed.metadata_error,
        labels=listed.labels,
    )
    if listed.metadata is not None:
        _fill_metadata(message, listed.metadata)
    message.cache.CopyFrom(_cache(listed.warmth))
    return message


def _cache(found: NamespaceWarmth) -> gateway_pb2.CacheState:
    return gateway_pb2.CacheState(
        warmth=_WARMTH[found.state],
        warmed_through_ms=found.warmed_through_ms,
        is_warming=found.state is WarmState.WARMING,
    )


def _fill_metadata(target: gateway_pb2.Namespace, metadata: Metadata) -> None:
    if metadata.approx_row_count is not None:
        target.row_count = metadata.approx_row_count
    if metadata.approx_logical_bytes is not None:
        target.logical_bytes = metadata.approx_logical_bytes
    if (created_ms := epoch_ms(metadata.created_at or "")) is not None:
        target.create_time.FromMilliseconds(created_ms)
    if (updated_ms := epoch_ms(metadata.updated_at or "")) is not None:
        target.update_time.FromMilliseconds(updated_ms)
    fill_schema(target.schema, metadata.schema)
    target.index.CopyFrom(_index(metadata.index))


def _index(text: Raw) -> gateway_pb2.IndexState:
    found = read_answer(_INDEX, bytes(text))
    return gateway_pb2.IndexState(
        status=_INDEX_STATUS.get(found.status or "", gateway_pb2.INDEX_STATUS_UNSPECIFIED),
        unindexed_bytes=found.unindexed_bytes,
    )


def layer_message(found: LayerState) -> gateway_pb2.LayerState:
    """Return what layer knows of a namespace."""
    return gateway_pb2.LayerState(
        stable_as_of_ms=found.stable_as_of,
        is_stable=found.is_stable,
        is_indexed=found.indexed,
        index_lag_row_count=found.index_lag_rows,
        schema_version=found.schema_version,
        init_state=_INIT_STATES[found.init_state],
        init_lag_row_count=found.init_lag_rows,
        shard_count=found.shard_count,
        shard_state=_SHARD_STATES[found.shard_state],
        shard_lag_row_count=found.shard_lag_rows,
        is_scatter_gather_active=found.scatter_gather_active,
    )
