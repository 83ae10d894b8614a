"""A write is told to the cache in messages of a bounded size, the last of which ends its fence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2
from layer_gateway.adapters.cache_metrics import CacheMetrics
from layer_gateway.adapters.cached_rows import CachedRows
from layer_gateway.adapters.membership import Membership
from layer_gateway.adapters.settlements import PART_BYTES_MAX, SETTLED_BYTES_MAX, CacheStub
from layer_kit.names import Namespace
from layer_wire.stamping import CacheRows

BOOKS = Namespace("books")


@dataclass
class ScriptedCache:
    """Has the methods of a stub that settle a write, and keeps what it was told."""

    told: list[cache_pb2.SettleRowsRequest] = field(default_factory=list)
    fenced: list[list[bytes]] = field(default_factory=list)
    lost_at: int = -1
    """Which of the settlements finds its fence lost."""

    async def OpenSession(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.OpenSessionRequest, **_: object
    ) -> cache_pb2.OpenSessionResponse:
        return cache_pb2.OpenSessionResponse(session_id="session", lease_ms=2_000)

    async def RenewSession(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.RenewSessionRequest, **_: object
    ) -> cache_pb2.RenewSessionResponse:
        return cache_pb2.RenewSessionResponse(lease_ms=2_000, renewal_number=2)

    async def FenceRows(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.FenceRowsRequest, **_: object
    ) -> cache_pb2.FenceRowsResponse:
        self.fenced.append(list(request.ids))
        return cache_pb2.FenceRowsResponse()

    async def settle(self, message: bytes, **options: Any) -> cache_pb2.SettleRowsResponse:
        return await self.SettleRows(cache_pb2.SettleRowsRequest.FromString(message), **options)

    async def SettleRows(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.SettleRowsRequest, **_: object
    ) -> cache_pb2.SettleRowsResponse:
        self.told.append(request)
        return cache_pb2.SettleRowsResponse(is_fence_lost=len(self.told) - 1 == self.lost_at)


async def settle(cache: ScriptedCache, puts: CacheRows, patches: CacheRows) -> None:
    stub = cast("CacheStub", cache)
    metrics = CacheMetrics(CollectorRegistry()).of(0)
    membership = Membership(stub, monotonic=lambda: 1000.0, metrics=metrics)
    await membership.keep()
    rows = CachedRows(stub, membership, lookup_timeout_s=1.0, write_timeout_s=1.0, metrics=metrics)
    fence = await rows.fence(BOOKS, [*puts.ids, *patches.ids])
    await rows.settle(fence, puts=puts, patches=patches, lifted=[b"u0"])


def rows_of(name: bytes, sizes: list[int]) -> CacheRows:
    return CacheRows(
        ids=[b"s%b%d" % (name, at) for at in range(len(sizes))],
        bodies=[b"{}"] * len(sizes),
        vectors=[b"v" * size if size else b"" for size in sizes],
    )


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([0, 10, 0], id="a small write"),
        pytest.param([PART_BYTES_MAX // 3] * 10, id="a large one"),
        pytest.param([0, 2 * PART_BYTES_MAX, 0, 5], id="a large row"),
        pytest.param(
            [0, *(2**bits - 3 + more for bits in (7, 14) for more in range(4))],
            id="rows whose lengths take one byte more or less",
        ),
        pytest.param([], id="nothing"),
    ],
)
async def test_every_row_is_told_once_and_only_the_last_message_ends_the_fence(
    sizes: list[int],
) -> None:
    cache = ScriptedCache()
    puts, patches = rows_of(b"put", sizes), rows_of(b"patch", [0, *sizes])

    await settle(cache, puts, patches)

    assert [id_ for told in cache.told for id_ in told.put_ids] == puts.ids
    vectors = [told.put_vectors or [b""] * len(told.put_ids) for told in cache.told]
    assert [row for told in vectors for row in told] == puts.vector_objects()
    assert [id_ for told in cache.told for id_ in told.patch_ids] == patches.ids
    *early, last = cache.told
    assert all(told.is_partial and not told.lift_ids for told in early)
    assert not last.is_partial
    assert list(last.lift_ids) == [b"u0"]
    for told in cache.told:
        assert told.ByteSize() < 2 * PART_BYTES_MAX + 1000 or len(told.put_ids) <= 1
    assert len(cache.told) <= 2 * (sum(sizes) // PART_BYTES_MAX + 3)
    assert len(cache.fenced) == 1


async def test_what_is_more_than_the_cache_takes_of_one_write_is_not_told() -> None:
    cache = ScriptedCache()

    await settle(cache, rows_of(b"put", [SETTLED_BYTES_MAX // 4] * 5), CacheRows())

    assert [id_ for told in cache.told for id_ in told.put_ids] == [b"sput0", b"sput1", b"sput2"]


@pytest.mark.parametrize("lost_at", [0, 1, 2])
async def test_a_fence_lost_on_the_way_drops_the_rows_of_the_whole_write(lost_at: int) -> None:
    cache = ScriptedCache(lost_at=lost_at)
    puts = rows_of(b"put", [PART_BYTES_MAX] * 3)

    await settle(cache, puts, CacheRows())

    assert cache.fenced == [puts.ids, puts.ids]
    assert not cache.told[-1].put_ids
