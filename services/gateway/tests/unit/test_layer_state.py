"""How many rows of a namespace its latest snapshot covers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from layer_gateway.application.facts import NamespaceFacts
from layer_gateway.application.layer_state import DescribeLayer, LayerState
from layer_gateway.application.sharding import Marker, Sharding
from layer_kit.names import Namespace
from layer_wire.ids import IdKind


class Counted:
    """Snapshots that have counted so many rows."""

    def __init__(self, rows_count: int) -> None:
        self._rows_count = rows_count

    async def row_count(self, namespace: Namespace) -> int:
        return self._rows_count


async def covered(counted: int, row_count: int, marker: Marker | None) -> LayerState:
    facts = NamespaceFacts(
        exists=True,
        id_kind=IdKind.STRING,
        types={"vector": "[2]f32"},
        unmirrored=frozenset(),
        sharding=Sharding(shard_count=2, is_initialised=marker is not None, marker=marker),
    )
    nothing = cast("Any", None)
    describe = DescribeLayer(
        shards=nothing, watermarks=nothing, snapshots=cast("Any", Counted(counted))
    )
    return await describe.covered(Namespace("n"), LayerState(), facts, row_count)


@pytest.mark.parametrize(
    ("marker", "row_count", "lag_rows"),
    [
        (None, 6, 0),
        (None, 7, 1),
        (Marker(shard_count=2, schema_version=1), 7, 0),
        (Marker(shard_count=2, schema_version=1), 8, 1),
    ],
)
async def test_the_marker_is_no_row_that_a_snapshot_lags_behind(
    marker: Marker | None, row_count: int, lag_rows: int
) -> None:
    """The store counts it among the rows, and snapshots leave it out."""
    state = await covered(6, row_count, marker)
    assert (state.index_lag_rows, state.indexed) == (lag_rows, lag_rows == 0)
