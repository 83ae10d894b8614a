"""What is remembered of a namespace while other gateways create, delete and remake it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from layer_gateway.adapters.no_cache import NoCache
from layer_gateway.adapters.write_triggers import NoTriggers
from layer_gateway.application import writing
from layer_gateway.application.facts import Facts
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.joined_reads import JoinedReads
from layer_gateway.application.listings import Listings
from layer_gateway.application.sharding import Shards
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.watched import WatchSettings
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.application.writing import WriteRows
from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.stores import Caller, Headers, StoreAnswer
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_wire.ids import IdKind
from layer_wire.jsontext import Piece

BOOKS = Namespace("books")
NUMBERED = b'{"id":"uint","title":"string"}'
NAMED = b'{"id":"string","title":"string"}'


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b"{}"
    headers: Headers = ()


@dataclass
class ScriptedStore:
    """A store whose schema answers wait for a test to let them go."""

    schema_bodies: list[bytes | None] = field(default_factory=list)
    """The schema at each question in turn; None for no such namespace."""
    rows: bytes = b'{"rows":[]}'
    is_writable: bool = True
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    questions_count: int = 0

    async def schema(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        body = self.schema_bodies[self.questions_count]
        self.questions_count += 1
        await self.is_open.wait()
        return Answer(404) if body is None else Answer(200, body)

    async def query(self, namespace: Namespace, body: bytes, caller: Caller) -> StoreAnswer:
        return Answer(200, self.rows)

    async def write(
        self, namespace: Namespace, body: Sequence[Piece], caller: Caller
    ) -> StoreAnswer:
        if not self.is_writable:
            raise UpstreamError("UPSTREAM_CLOSED", "The store hung up.")
        return Answer(200, b'{"rows_affected":0}')

    async def metadata(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        raise NotImplementedError

    async def list_namespaces(self, query_string: str, caller: Caller) -> StoreAnswer:
        raise NotImplementedError

    async def delete_namespace(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        raise NotImplementedError


class WatchedNoCache(NoCache):
    """Tells which namespaces were invalidated, and which rows dropped."""

    def __init__(self) -> None:
        self.invalidated: list[Namespace] = []
        self.dropped: list[bytes] = []

    async def invalidate(self, namespace: Namespace) -> None:
        self.invalidated.append(namespace)

    async def drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool = True
    ) -> None:
        self.dropped += ids


def writes_over(store: ScriptedStore, cache: RowCache) -> WriteRows:
    stamps = Stamps(lambda: 0)
    return WriteRows(
        store=store,
        cache=cache,
        facts=facts_over(store),
        stamps=stamps,
        watermarks=Watermarks(store, stamps, WatchSettings(), monotonic=lambda: 0.0),
        listings=Listings(ttl_s=0.0, monotonic=lambda: 0.0),
        store_name="default",
        triggers=NoTriggers(),
    )


def facts_over(store: ScriptedStore) -> Facts:
    shards = Shards(store, None, shard_count_default=16, monotonic=lambda: 0.0)
    return Facts(store, shards, ttl_s=30.0, monotonic=lambda: 0.0)


async def test_an_absence_asked_for_earlier_is_no_answer_to_a_later_call() -> None:
    """In between, the write that created the namespace may have been acknowledged elsewhere."""
    store = ScriptedStore(schema_bodies=[None, NUMBERED])
    facts = facts_over(store)
    earlier = asyncio.create_task(facts.get(BOOKS, Caller()))
    await asyncio.sleep(0)
    later = [asyncio.create_task(facts.get(BOOKS, Caller())) for _ in range(3)]
    await asyncio.sleep(0)

    store.is_open.set()

    assert not (await earlier).exists
    assert [(await task).exists for task in later] == [True] * 3
    assert store.questions_count == 2


async def test_nor_is_one_whose_answer_has_come_in_the_same_moment() -> None:
    """What ends a question is told to others only in a later turn of the loop."""
    store = ScriptedStore(schema_bodies=[None, NUMBERED])
    facts = facts_over(store)
    earlier = asyncio.create_task(facts.get(BOOKS, Caller()))
    await asyncio.sleep(0)  # to ask
    await asyncio.sleep(0)  # and to wait for the answer

    async def next_in_turn() -> bool:
        await store.is_open.wait()
        return (await facts.get(BOOKS, Caller())).exists

    later = asyncio.create_task(next_in_turn())
    await asyncio.sleep(0)
    store.is_open.set()

    assert await later
    assert not (await earlier).exists


async def test_a_text_that_cannot_be_an_id_is_looked_at_again_with_fresh_facts() -> None:
    """Another gateway has made the namespace anew, with strings for ids instead of numbers."""
    store = ScriptedStore(schema_bodies=[NUMBERED, NAMED])
    store.is_open.set()
    facts = facts_over(store)
    await facts.get(BOOKS, Caller())
    store.rows = b'{"rows":[{"id":"abc","title":"Emma"}]}'
    fetch = FetchRows(
        cache=NoCache(),
        facts=facts,
        reads=JoinedReads(store=store, cache=NoCache(), facts=facts),
    )

    fetched = await fetch.by_text(BOOKS, ["abc"], Caller(), names=None)

    assert fetched.rows[0].body == b'{"title":"Emma"}'


@pytest.mark.parametrize(
    "body", [b'{"delete_by_filter":["title","Eq","Emma"]}', b'{"copy_from_namespace":"others"}']
)
async def test_a_write_of_unknown_fate_and_unknown_rows_invalidates_its_namespace(
    body: bytes,
) -> None:
    store = ScriptedStore(schema_bodies=[NUMBERED], is_writable=False)
    store.is_open.set()
    cache = WatchedNoCache()

    with pytest.raises(UpstreamError):
        await writes_over(store, cache)(BOOKS, body, Caller())

    assert cache.invalidated == [BOOKS]


async def test_a_write_of_more_rows_than_a_fence_takes_invalidates_its_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "FENCED_IDS_MAX", 2)
    store = ScriptedStore(schema_bodies=[NUMBERED, NUMBERED])
    store.is_open.set()
    cache = WatchedNoCache()

    await writes_over(store, cache)(BOOKS, b'{"deletes":[1,2]}', Caller())
    assert (cache.invalidated, cache.dropped) == ([], [])
    await writes_over(store, cache)(BOOKS, b'{"deletes":[1,2,3]}', Caller())

    assert (cache.invalidated, cache.dropped) == ([BOOKS], [])


async def test_facts_in_use_are_renewed_before_they_run_out_and_rarely_in_vain() -> None:
    now_s = 0.0
    store = ScriptedStore(schema_bodies=[NAMED, None, None, NUMBERED])
    store.is_open.set()
    shards = Shards(store, None, shard_count_default=16, monotonic=lambda: now_s)
    facts = Facts(store, shards, ttl_s=30.0, monotonic=lambda: now_s)

    async def kind_after(seconds: float) -> IdKind | None:
        nonlocal now_s
        now_s += seconds
        found = await facts.get(BOOKS, Caller())
        current = asyncio.current_task()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not current))
        return found.id_kind

    assert [await kind_after(0), await kind_after(14)] == [IdKind.STRING, IdKind.STRING]
    assert store.questions_count == 1
    assert [await kind_after(2), await kind_after(2)] == [IdKind.STRING, IdKind.STRING]
    assert store.questions_count == 2
    assert [await kind_after(2), await kind_after(4)] == [IdKind.STRING, IdKind.STRING]
    assert store.questions_count == 4
    assert await kind_after(0) is IdKind.UNSIGNED
