"""The gateway's side of its membership, against a cache that answers as a test wants it to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2
from layer_gateway.adapters.cache_metrics import CacheMetrics
from layer_gateway.adapters.cached_rows import CachedRows
from layer_gateway.adapters.lookup_stream import STREAMED_IDS_MAX
from layer_gateway.adapters.membership import Membership
from layer_gateway.adapters.settlements import CacheStub
from layer_kit.errors import InvalidRequestError, UnavailableError
from layer_kit.names import Namespace
from layer_wire.stamping import CacheRows

BOOKS = Namespace("books")
LEASE_MS = 2_000


@dataclass
class ScriptedCache:
    """Has the methods of a stub, and accepts everything."""

    openings: list[cache_pb2.OpenSessionRequest] = field(default_factory=list)
    is_fence_lost: bool = False
    is_away: bool = False
    fenced: list[list[bytes]] = field(default_factory=list)
    timeouts_s: list[float] = field(default_factory=list)

    async def OpenSession(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.OpenSessionRequest, **_: object
    ) -> cache_pb2.OpenSessionResponse:
        self.openings.append(request)
        return cache_pb2.OpenSessionResponse(
            session_id=f"session-{len(self.openings)}", lease_ms=LEASE_MS
        )

    async def RenewSession(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.RenewSessionRequest, **_: object
    ) -> cache_pb2.RenewSessionResponse:
        return cache_pb2.RenewSessionResponse(lease_ms=LEASE_MS, renewal_number=2)

    async def CloseSession(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.CloseSessionRequest, **_: object
    ) -> cache_pb2.CloseSessionResponse:
        return cache_pb2.CloseSessionResponse()

    async def FenceRows(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.FenceRowsRequest, **options: Any
    ) -> cache_pb2.FenceRowsResponse:
        if self.is_away:
            raise UnavailableError("AWAY", "Away.")
        self.fenced.append(list(request.ids))
        self.timeouts_s.append(options["timeout"])
        return cache_pb2.FenceRowsResponse()

    async def LookupRows(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.LookupRowsRequest, **_: object
    ) -> cache_pb2.LookupRowsResponse:
        raise InvalidRequestError("TOO_MANY_ATTRIBUTES", "Too many.")

    async def settle(self, message: bytes, **options: Any) -> cache_pb2.SettleRowsResponse:
        return await self.SettleRows(cache_pb2.SettleRowsRequest.FromString(message), **options)

    async def SettleRows(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.SettleRowsRequest, **options: Any
    ) -> cache_pb2.SettleRowsResponse:
        self.timeouts_s.append(options["timeout"])
        return cache_pb2.SettleRowsResponse(is_fence_lost=self.is_fence_lost)


def member_of(cache: ScriptedCache) -> tuple[Membership, CachedRows]:
    stub = cast("CacheStub", cache)
    metrics = CacheMetrics(CollectorRegistry()).of(0)
    membership = Membership(stub, monotonic=lambda: 1000.0, metrics=metrics)
    rows = CachedRows(stub, membership, lookup_timeout_s=1.0, write_timeout_s=1.0, metrics=metrics)
    return membership, rows


async def test_a_drop_that_the_cache_forgot_is_handed_over_by_the_next_opening() -> None:
    """The clock stands still: the write waits for nothing else."""
    cache = ScriptedCache()
    membership, rows = member_of(cache)
    await membership.keep()
    cache.is_fence_lost = True

    dropping = asyncio.create_task(rows.drop(BOOKS, [b"u1"]))
    await asyncio.sleep(0)  # until it waits for the lease
    assert not membership.is_confirmed
    await membership.keep()
    await dropping

    assert [list(opening.dirty_ids) for opening in cache.openings] == [[], [b"u1"]]


async def test_a_lookup_that_the_cache_refuses_is_a_miss_and_costs_nobody_else_the_cache() -> None:
    cache = ScriptedCache()
    membership, rows = member_of(cache)
    await membership.keep()

    ids = [b"u%d" % number for number in range(STREAMED_IDS_MAX + 1)]  # by a call of its own
    lookup = await rows.lookup(BOOKS, ids, names=["a"])

    assert (lookup.is_available, lookup.hits) == (False, {})
    assert membership.is_confirmed


async def test_the_more_rows_a_write_has_the_longer_the_cache_may_take() -> None:
    cache = ScriptedCache()
    membership, rows = member_of(cache)
    await membership.keep()
    for count in (1, 200_000):
        fence = await rows.fence(BOOKS, [b"u%d" % number for number in range(count)])
        await rows.settle(fence, puts=CacheRows(), patches=CacheRows(), lifted=())

    of_one, of_many = cache.timeouts_s[:2], cache.timeouts_s[2:]
    assert max(of_one) < 1.1
    assert min(of_many) > 4


async def test_rows_without_a_fence_are_dropped_when_the_fate_of_their_write_is_unknown() -> None:
    cache = ScriptedCache()
    membership, rows = member_of(cache)
    await membership.keep()
    cache.is_away = True
    fence = await rows.fence(BOOKS, [b"u1"])
    late = await rows.fence(BOOKS, [b"u2"])
    assert not membership.is_confirmed

    await rows.abandon(late)  # the cache is away still, so that they are handed over later
    cache.is_away = False
    await membership.keep()
    await rows.abandon(fence)

    assert [list(opening.dirty_ids) for opening in cache.openings] == [[], [b"u2"]]
    assert cache.fenced == [[b"u1"]]
    assert membership.is_confirmed


async def test_a_member_says_whether_it_was_one_before() -> None:
    cache = ScriptedCache()
    membership, rows = member_of(cache)
    await membership.keep()
    cache.is_fence_lost = True
    dropping = asyncio.create_task(rows.drop(BOOKS, [b"u1"]))
    await asyncio.sleep(0)  # until it waits for the lease
    assert not membership.is_confirmed
    await membership.keep()
    await dropping

    assert [opening.is_returning for opening in cache.openings] == [False, True]


async def test_a_member_tells_when_it_is_without_the_cache_and_for_how_long() -> None:
    cache, registry, now_s = ScriptedCache(), CollectorRegistry(), 1000.0
    stub = cast("CacheStub", cache)
    metrics = CacheMetrics(registry).of(0)
    membership = Membership(stub, monotonic=lambda: now_s, metrics=metrics)

    def figures() -> tuple[float | None, ...]:
        name = "hevlayer_document_cache_cold_start"
        return tuple(map(registry.get_sample_value, (f"{name}_active", f"{name}_seconds_sum")))

    now_s += 2.0
    assert figures() == (1, 0)
    await membership.keep()
    assert figures() == (0, 2)

    now_s += 60.0
    membership.lose(UnavailableError("AWAY", "Away."))
    now_s += 5.0
    membership.lose(UnavailableError("AWAY", "Away."))
    assert figures() == (1, 2)
    await membership.keep()
    assert figures() == (0, 7)


async def test_a_member_that_has_left_does_not_come_back() -> None:
    cache = ScriptedCache()
    membership, _ = member_of(cache)
    await membership.keep()
    await membership.close()

    await membership.keep()

    assert len(cache.openings) == 1
    assert not membership.is_confirmed
