"""Reads that come together go together; those that come later get nothing that began before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from layer_gateway.adapters.no_cache import NoCache
from layer_gateway.application import joined_reads
from layer_gateway.application.facts import Facts
from layer_gateway.application.fetching import CacheResult, Fetched, FetchRows
from layer_gateway.application.joined_reads import LONE_IDS_MIN, JoinedReads
from layer_gateway.application.sharding import Shards
from layer_gateway.ports.rows import CachedRow, CacheLookup
from layer_gateway.ports.stores import Caller, Headers, StoreAnswer
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace, parse_namespace
from layer_wire.jsontext import Piece
from layer_wire.stamping import CacheRows

BOOKS = parse_namespace("books")
ANN = Caller(headers=[(b"authorization", b"Bearer ann"), (b"traceparent", b"1")])
BOB = Caller(headers=[(b"authorization", b"Bearer bob")])


@dataclass(frozen=True)
class Answer:
    body: bytes
    status: int = 200
    headers: Headers = ()


class Store:
    """Holds a version of each row; reads see the version there was when they began."""

    def __init__(self) -> None:
        self.version = 1
        self.reads: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.status = 200
        self.has_read_twice = asyncio.Event()

    async def schema(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        return Answer(b'{"id":"string"}')

    async def query(self, namespace: Namespace, body: bytes, caller: Caller) -> StoreAnswer:
        filter_ = msgspec.json.decode(body)["filters"]
        ids = filter_[2] if filter_[1] == "In" else [filter_[2]]
        if ids == ["_hevlayer:namespace_meta"]:
            return Answer(b'{"rows":[]}')
        self.reads.append(ids)
        if len(self.reads) >= 2:
            self.has_read_twice.set()
        version = self.version
        await self.may_answer.wait()
        rows = [{"id": id_, "version": version} for id_ in ids if not id_.startswith("no")]
        return Answer(msgspec.json.encode({"rows": rows}), self.status)

    async def write(
        self, namespace: Namespace, body: Sequence[Piece], caller: Caller
    ) -> StoreAnswer:
        raise NotImplementedError

    async def metadata(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        raise NotImplementedError

    async def list_namespaces(self, query_string: str, caller: Caller) -> StoreAnswer:
        raise NotImplementedError

    async def delete_namespace(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        raise NotImplementedError


@dataclass
class Cache(NoCache):
    """Takes every row until it is told that a write went by, as the real one does."""

    is_available: bool = True
    rows: dict[bytes, CachedRow] = field(default_factory=dict)
    tokens_count: int = 0
    refused_below: int = 0
    backfills: list[list[bytes]] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def lookup(
        self,
        namespace: Namespace,
        ids: Sequence[bytes],
        *,
        names: Sequence[str] | None = None,
        with_vectors: bool = False,
    ) -> CacheLookup:
        if not self.is_available:
            return CacheLookup(is_available=False)
        self.tokens_count += 1
        hits = {at: self.rows[id_] for at, id_ in enumerate(ids) if id_ in self.rows}
        read_token = b"%d" % self.tokens_count
        await self.may_answer.wait()
        return CacheLookup.of(hits, read_token=read_token)

    def join_tokens(self, earlier: bytes, later: bytes) -> bytes:
        return later or earlier

    async def backfill(
        self, namespace: Namespace, read_token: bytes, rows: CacheRows, *, is_patient: bool = False
    ) -> int:
        self.backfills.append(list(rows.ids))
        if int(read_token) > self.refused_below:
            for id_, body in zip(rows.ids, rows.bodies, strict=True):
                self.rows[id_] = CachedRow(body=body, vectors=b"")
        return len(self.rows)

    def written(self) -> None:
        """A write of every row was acknowledged: nothing read before may come in any more."""
        self.refused_below = self.tokens_count
        self.rows.clear()


class World:
    """The use case over both."""

    def __init__(self) -> None:
        self.store, self.cache = Store(), Cache()
        shards = Shards(self.store, None, shard_count_default=16, monotonic=lambda: 0.0)
        facts = Facts(self.store, shards, ttl_s=60, monotonic=lambda: 0.0)
        self.fetch = FetchRows(
            cache=self.cache,
            facts=facts,
            reads=JoinedReads(store=self.store, cache=self.cache, facts=facts),
        )

    def start(self, *ids: str, caller: Caller = ANN) -> asyncio.Task[Fetched]:
        return asyncio.create_task(self.fetch.by_text(BOOKS, ids, caller, names=None))

    async def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
async def world() -> World:
    world = World()
    await world.start("warm-up")
    world.store.reads.clear()
    world.store.has_read_twice.clear()
    world.cache.backfills.clear()
    return world


def version(found: Fetched, at: int = 0) -> int:
    return int(msgspec.json.decode(found.rows[at].body)["version"])


async def test_misses_of_one_turn_share_a_request_and_a_backfill(world: World) -> None:
    found = await asyncio.gather(world.start("a"), world.start("b", "a"), world.start("no", "c"))
    assert world.store.reads == [["a", "b", "no", "c"]]
    assert world.cache.backfills == [[b"sa", b"sb", b"sc"]]
    assert [sorted(one.rows) for one in found] == [[0], [0, 1], [1]]
    assert {one.result for one in found} == {CacheResult.MISS}


async def test_a_thousand_misses_of_one_row_cost_one_request(world: World) -> None:
    world.store.may_answer.clear()
    early = [world.start("a") for _ in range(500)]
    await world.settle()
    late = [world.start("a") for _ in range(500)]
    await world.settle()
    world.store.may_answer.set()
    found = await asyncio.gather(*early, *late)
    assert world.store.reads == [["a"]]
    assert all(version(one) == 1 for one in found)
    assert found[-1].result is CacheResult.HIT


async def test_a_miss_that_is_told_once_the_read_has_ended_follows_it_too(world: World) -> None:
    world.store.may_answer.clear()
    first = world.start("a")
    await world.settle()
    world.cache.may_answer.clear()
    late = world.start("a")
    await world.settle()
    world.store.may_answer.set()
    await first
    world.cache.may_answer.set()
    assert (await late).result is CacheResult.HIT
    assert world.store.reads == [["a"]]


async def test_a_follower_never_gets_what_was_read_before_an_acknowledged_write(
    world: World,
) -> None:
    world.store.may_answer.clear()
    first = world.start("a")
    await world.settle()
    world.store.version = 2
    world.cache.written()
    followers = [world.start("a") for _ in range(3)]
    await world.settle()
    world.store.may_answer.set()
    assert version(await first) == 1
    assert {version(found) for found in await asyncio.gather(*followers)} == {2}
    assert world.store.reads == [["a"], ["a"]]


async def test_a_read_of_other_rows_is_waited_for_by_nobody(world: World) -> None:
    world.store.may_answer.clear()
    slow = world.start("a")
    await world.settle()
    other = world.start("b")
    await world.settle()
    assert world.store.reads == [["a"], ["b"]]
    world.store.may_answer.set()
    await asyncio.gather(slow, other)


async def test_followers_share_the_next_request_when_the_row_does_not_exist(world: World) -> None:
    world.store.may_answer.clear()
    first = world.start("none")
    await world.settle()
    followers = [world.start("none") for _ in range(9)]
    await world.settle()
    world.store.may_answer.set()
    found = await asyncio.gather(first, *followers)
    assert all(one.rows == {} for one in found)
    assert len(world.store.reads) == 2


async def test_without_a_cache_those_who_come_meanwhile_share_the_next_request(
    world: World,
) -> None:
    world.cache.is_available = False
    world.store.may_answer.clear()
    first = world.start("a")
    await world.settle()
    world.store.version = 2
    followers = [world.start("a") for _ in range(9)]
    await world.settle()
    world.store.may_answer.set()
    assert version(await first) == 1
    found = await asyncio.gather(*followers)
    assert {(version(one), one.result) for one in found} == {(2, CacheResult.MISS_ON_ERROR)}
    assert len(world.store.reads) == 2
    assert world.cache.backfills == []


async def test_a_follower_waits_for_a_hung_read_only_so_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined_reads, "FOLLOW_S_MAX", 0.01)
    world.store.may_answer.clear()
    hung = world.start("a")
    await world.settle()
    follower = world.start("a")
    await world.store.has_read_twice.wait()
    world.store.may_answer.set()
    await asyncio.gather(hung, follower)


async def test_callers_with_keys_of_their_own_do_not_share(world: World) -> None:
    await asyncio.gather(world.start("a", caller=ANN), world.start("b", caller=BOB))
    assert sorted(world.store.reads) == [["a"], ["b"]]


async def test_many_ids_go_in_a_request_of_their_own(world: World) -> None:
    many = [f"id-{number}" for number in range(LONE_IDS_MIN)]
    await asyncio.gather(world.start("a"), world.start(*many))
    assert sorted(map(len, world.store.reads)) == [1, LONE_IDS_MIN]


async def test_a_refusal_reaches_everyone_and_the_next_fetch_asks_anew(world: World) -> None:
    world.store.status = 500
    outcomes = await asyncio.gather(world.start("a"), world.start("b"), return_exceptions=True)
    assert [getattr(one, "reason", None) for one in outcomes] == ["FETCH_FAILED"] * 2
    assert all(isinstance(one, UpstreamError) for one in outcomes)
    world.store.status = 200
    assert version(await world.start("a")) == 1


async def test_a_caller_that_leaves_takes_nobody_along(world: World) -> None:
    world.store.may_answer.clear()
    leaving, staying = world.start("a"), world.start("a")
    await world.settle()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    world.store.may_answer.set()
    assert version(await staying) == 1
