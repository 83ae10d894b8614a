"""The ``layer`` block: what layer knows of a namespace that its store does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from layer_gateway.application.facts import NamespaceFacts
from layer_gateway.application.sharding import Shards
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.snapshots import SnapshotArchive
from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace

VECTOR_ELEMENTS: Final = ("f32", "f16")
"""How the type of a vector ends."""


class LayerState(msgspec.Struct, frozen=True, kw_only=True):
    """The block with the names of the contract; None is what is not known."""

    stable_as_of: int | None = None
    is_stable: bool = False
    """Whether the latest look at the index found it up to date."""
    indexed: bool | None = None
    index_lag_rows: int | None = None
    schema_version: int | None = None
    init_state: Literal["running", "ready"] = "ready"
    init_lag_rows: int | None = None
    shard_count: int | None = None
    shard_state: Literal["unsharded", "backfilling", "ready"] = "unsharded"
    shard_lag_rows: int | None = None
    scatter_gather_active: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribeLayer:
    """Tells how stable and how far initialised a namespace is."""

    shards: Shards
    watermarks: Watermarks
    snapshots: SnapshotArchive

    async def covered(
        self, namespace: Namespace, state: LayerState, facts: NamespaceFacts, row_count: int | None
    ) -> LayerState:
        """Say how many of a namespace's ``row_count`` rows its latest snapshot has not counted."""
        counted = await self.snapshots.row_count(namespace)
        if counted is None or row_count is None:
            return state
        markers_count = 0 if facts.sharding.marker is None else 1  # which no snapshot counts
        lag_rows = max(0, row_count - markers_count - counted)
        has_vectors = any(type_.endswith(VECTOR_ELEMENTS) for type_ in facts.types.values())
        return msgspec.structs.replace(
            state,
            index_lag_rows=lag_rows,
            # Before the first snapshot nothing was counted, which says nothing of the index.
            indexed=lag_rows == 0 if has_vectors and counted else None,
        )

    async def __call__(
        self, namespace: Namespace, facts: NamespaceFacts, caller: Caller
    ) -> LayerState:
        """Describe a namespace that exists; raises the store's own errors."""
        state = LayerState(
            stable_as_of=self.watermarks.cut(namespace).stable_as_of_ms,
            is_stable=self.watermarks.is_stable(namespace),
        )
        sharding = facts.sharding
        if not sharding.is_initialised:
            return state
        lag_rows: int | None = 0
        if not sharding.is_complete:
            lag_rows = await self.shards.rows_outside(namespace, facts.types, sharding, caller)
        is_ready = lag_rows == 0
        return msgspec.structs.replace(
            state,
            schema_version=sharding.marker.schema_version if sharding.marker else None,
            init_state="ready" if is_ready else "running",
            init_lag_rows=lag_rows,
            shard_count=sharding.shard_count,
            shard_state="ready" if is_ready else "backfilling",
            shard_lag_rows=lag_rows,
            scatter_gather_active=sharding.scatter_count > 1,
        )
