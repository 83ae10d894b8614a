"""How long an unannounced write waits, on a clock that a test moves and a cache that it scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_gateway.adapters.cache_metrics import CacheMetrics
from layer_gateway.adapters.membership import (
    DIRTY_IDS_MAX,
    DIRTY_NAMESPACES_MAX,
    DirtyRows,
    Membership,
)
from layer_kit.names import Namespace

LEASE_S = 2.0
START_S = 1000.0
BOOKS = Namespace("books")


class Clock:
    """Stands still until it is moved, and tells when it was looked at."""

    def __init__(self) -> None:
        self.now_s = START_S
        self._looked_at = asyncio.Event()

    def __call__(self) -> float:
        self._looked_at.set()
        return self.now_s

    async def move_to(self, now_s: float) -> None:
        """Set the time and return once somebody has seen it."""
        self.now_s = now_s
        self._looked_at.clear()
        await self._looked_at.wait()
        await asyncio.sleep(0)


@dataclass
class ScriptedCache(cache_pb2_grpc.CacheServiceServicer):
    """Answers sessions as a test wants it to."""

    clock: Clock
    refusal: grpc.StatusCode | None = None
    round_trip_s: float = 0.0
    openings: list[cache_pb2.OpenSessionRequest] = field(default_factory=list)
    renewals: list[cache_pb2.RenewSessionRequest] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    async def OpenSession(  # noqa: N802 -- as in the proto
        self,
        request: cache_pb2.OpenSessionRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> cache_pb2.OpenSessionResponse:
        self.openings.append(request)
        await self._answer(context)
        session_id = f"session-{len(self.openings)}"
        return cache_pb2.OpenSessionResponse(session_id=session_id, lease_ms=int(LEASE_S * 1000))

    async def RenewSession(  # noqa: N802 -- as in the proto
        self,
        request: cache_pb2.RenewSessionRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> cache_pb2.RenewSessionResponse:
        self.renewals.append(request)
        await self._answer(context)
        number = len(self.renewals) + 1
        return cache_pb2.RenewSessionResponse(lease_ms=int(LEASE_S * 1000), renewal_number=number)

    async def CloseSession(  # noqa: N802 -- as in the proto
        self,
        request: cache_pb2.CloseSessionRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> cache_pb2.CloseSessionResponse:
        self.closed.append(request.session_id)
        return cache_pb2.CloseSessionResponse()

    async def _answer(self, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]
        self.clock.now_s += self.round_trip_s
        if self.refusal is not None:
            await context.abort(self.refusal, "as told")


@pytest.fixture
async def cache() -> ScriptedCache:
    return ScriptedCache(clock=Clock())  # type: ignore[abstract]  # the rest is UNIMPLEMENTED


@pytest.fixture
async def membership(cache: ScriptedCache) -> AsyncIterator[Membership]:
    server = grpc.aio.server()
    cache_pb2_grpc.add_CacheServiceServicer_to_server(cache, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = cache_pb2_grpc.CacheServiceStub(channel)
        yield Membership(
            stub, monotonic=cache.clock, metrics=CacheMetrics(CollectorRegistry()).of(0)
        )
    await server.stop(None)


async def waits_until(membership: Membership, clock: Clock, end_s: float) -> None:
    """Check that an unannounced write is acknowledged at ``end_s`` and no sooner."""
    write = asyncio.create_task(membership.acknowledge_ids(BOOKS, [b"sa"]))
    async with asyncio.timeout(5):
        await clock.move_to(end_s - 0.01)
        assert not write.done()
        clock.now_s = end_s
        await write


async def test_a_write_waits_for_the_lease_that_was_renewed_last(
    membership: Membership, cache: ScriptedCache
) -> None:
    await membership.keep()
    cache.clock.now_s = START_S + 1
    await membership.keep()
    await waits_until(membership, cache.clock, START_S + 1 + LEASE_S)


@pytest.mark.parametrize("refusal", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT])
async def test_a_refused_renewal_does_not_extend_the_wait(
    membership: Membership, cache: ScriptedCache, refusal: grpc.StatusCode
) -> None:
    await membership.keep()
    cache.clock.now_s = START_S + 1
    cache.refusal = refusal
    await membership.keep()
    assert not membership.is_confirmed
    await waits_until(membership, cache.clock, START_S + LEASE_S)


async def test_a_renewal_whose_fate_is_unknown_extends_the_wait(
    membership: Membership, cache: ScriptedCache
) -> None:
    await membership.keep()
    cache.clock.now_s = START_S + 1
    cache.refusal = grpc.StatusCode.UNAVAILABLE
    await membership.keep()
    assert not membership.is_confirmed
    await waits_until(membership, cache.clock, START_S + 1 + LEASE_S)


async def test_the_last_round_trip_is_counted(membership: Membership, cache: ScriptedCache) -> None:
    cache.round_trip_s = 0.25
    await membership.keep()  # opened at 0.0, answered at 0.25; renewed at 0.25, answered at 0.5
    cache.round_trip_s = 0.0
    cache.clock.now_s = START_S + 1
    await membership.keep()
    await waits_until(membership, cache.clock, START_S + 1 + 0.25 + LEASE_S)
    assert [renewal.elapsed_ms for renewal in cache.renewals] == [250, 750]
    assert [renewal.answered_renewal_number for renewal in cache.renewals] == [1, 2]


async def test_nobody_waits_for_a_lease_that_never_was(
    membership: Membership, cache: ScriptedCache
) -> None:
    async with asyncio.timeout(5):
        await membership.acknowledge_ids(BOOKS, [b"sa"])
    assert cache.openings == []


async def test_a_write_is_acknowledged_at_once_when_its_rows_are_handed_over(
    membership: Membership, cache: ScriptedCache
) -> None:
    await membership.keep()
    write = asyncio.create_task(membership.acknowledge_namespace(BOOKS))
    await cache.clock.move_to(START_S + 0.5)
    assert not write.done()
    await membership.keep()
    async with asyncio.timeout(5):
        await write
    assert list(cache.openings[1].dirty_namespaces) == [BOOKS]
    assert membership.is_confirmed


async def test_what_could_not_be_handed_over_is_kept_for_the_next_time(
    membership: Membership, cache: ScriptedCache
) -> None:
    async with asyncio.timeout(5):
        await membership.acknowledge_ids(BOOKS, [b"sa", b"sb"])
        cache.refusal = grpc.StatusCode.UNAVAILABLE
        await membership.keep()
        await membership.acknowledge_ids(BOOKS, [b"sc"])
        cache.refusal = None
        await membership.keep()
    first, second = cache.openings
    assert sorted(first.dirty_ids) == [b"sa", b"sb"]
    assert sorted(second.dirty_ids) == [b"sa", b"sb", b"sc"]
    assert first.member_id == second.member_id
    assert membership.is_confirmed


async def test_who_never_came_has_nothing_to_leave(
    membership: Membership, cache: ScriptedCache
) -> None:
    await membership.close()
    assert cache.closed == []


async def test_leaving_closes_the_session(membership: Membership, cache: ScriptedCache) -> None:
    await membership.keep()
    await membership.close()
    assert cache.closed == ["session-1"]
    assert not membership.session_id


def test_dirty_rows_are_remembered_by_id_then_by_namespace_then_as_everything() -> None:
    dirty = DirtyRows()
    assert not dirty
    dirty.add_ids(BOOKS, [b"s%d" % at for at in range(DIRTY_IDS_MAX)])
    assert (len(dirty.ids), dirty.namespaces) == (DIRTY_IDS_MAX, set())
    dirty.add_ids(Namespace("other"), [b"s"])
    assert (dirty.ids, dirty.namespaces) == (set(), {BOOKS, "other"})
    dirty.add_ids(BOOKS, [b"s"])
    assert dirty.ids == set()
    for at in range(DIRTY_NAMESPACES_MAX):
        dirty.add_namespace(Namespace(f"n{at}"))
    assert dirty.is_everything
    assert dirty
