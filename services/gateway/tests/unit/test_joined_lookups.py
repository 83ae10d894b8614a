"""Lookups that come together go together, and each caller gets what it asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from layer_gateway.adapters.joined_lookups import (
    JOINED_IDS_MAX,
    LONE_IDS_MIN,
    JoinedLookups,
)
from layer_gateway.ports.rows import CachedRow, CacheLookup, LookupKind, TellLookup
from layer_kit.names import parse_namespace

BOOKS = LookupKind(parse_namespace("books"), None, with_vectors=False)
TITLES = BOOKS._replace(names=("title",))


class Cache:
    """Holds every row whose id does not start with ``no``; answers when told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[LookupKind, list[bytes]]] = []
        self.is_away = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.fault: Exception | None = None
        self.waiting: list[asyncio.Task[None]] = []

    def ask(self, kind: LookupKind, ids: Sequence[bytes], tell: TellLookup) -> None:
        number = len(self.calls)
        self.calls.append((kind, list(ids)))
        if self.may_answer.is_set():
            tell(self.answer(ids, number))
            return

        async def later() -> None:
            await self.may_answer.wait()
            tell(self.answer(ids, number))

        self.waiting.append(asyncio.create_task(later()))

    def answer(self, ids: Sequence[bytes], number: int) -> CacheLookup | BaseException:
        if self.fault is not None:
            return self.fault
        if self.is_away:
            return CacheLookup(is_available=False)
        rows = {
            at: CachedRow(body=id_, vectors=b"")
            for at, id_ in enumerate(ids)
            if not id_.startswith(b"no")
        }
        return CacheLookup.of(rows, read_token=b"token %d" % number)


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
def lookups(cache: Cache) -> JoinedLookups:
    return JoinedLookups(cache.ask)


async def until(task: asyncio.Task[CacheLookup], cache: Cache, calls_count: int) -> None:
    """Let the loop turn until so many calls have begun, or the task has ended."""
    while len(cache.calls) < calls_count and not task.done():  # noqa: ASYNC110 -- turns, no time
        await asyncio.sleep(0)


def bodies(found: CacheLookup) -> dict[int, bytes]:
    return {at: row.body for at, row in found.hits.items()}


async def test_lookups_of_one_turn_share_a_call_and_an_id_goes_once(
    cache: Cache, lookups: JoinedLookups
) -> None:
    one, two, three = await asyncio.gather(
        lookups(BOOKS, [b"a"]), lookups(BOOKS, [b"b", b"a"]), lookups(BOOKS, [b"no", b"c"])
    )
    assert cache.calls == [(BOOKS, [b"a", b"b", b"no", b"c"])]
    assert bodies(one) == {0: b"a"}
    assert bodies(two) == {0: b"b", 1: b"a"}
    assert bodies(three) == {1: b"c"}
    assert one.read_token == two.read_token == three.read_token == b"token 0"


async def test_an_id_asked_for_twice_is_found_twice(cache: Cache, lookups: JoinedLookups) -> None:
    assert bodies(await lookups(BOOKS, [b"a", b"a"])) == {0: b"a", 1: b"a"}
    assert cache.calls == [(BOOKS, [b"a"])]


async def test_another_projection_or_namespace_takes_another_call(
    cache: Cache, lookups: JoinedLookups
) -> None:
    films = BOOKS._replace(namespace=parse_namespace("films"))
    vectors = BOOKS._replace(with_vectors=True)
    nothing = BOOKS._replace(names=())
    kinds = [BOOKS, TITLES, films, vectors, nothing]
    await asyncio.gather(*(lookups(kind, [b"a"]) for kind in kinds))
    assert sorted(cache.calls, key=repr) == sorted(((kind, [b"a"]) for kind in kinds), key=repr)


async def test_while_lookups_come_one_by_one_each_goes_at_once(
    cache: Cache, lookups: JoinedLookups
) -> None:
    await lookups(BOOKS, [b"a"])
    cache.may_answer.clear()
    told: dict[bytes, CacheLookup | BaseException] = {}

    def ask(*ids: bytes) -> None:
        lookups.begin(BOOKS, ids, lambda found: told.update({ids[0]: found}))

    ask(b"b")
    assert cache.calls[1:] == [(BOOKS, [b"b"])]
    ask(b"c")
    ask(b"d", b"c")
    cache.may_answer.set()
    while len(told) < 3:  # noqa: ASYNC110 -- turns, no time
        await asyncio.sleep(0)
    assert cache.calls[2:] == [(BOOKS, [b"c", b"d"])]
    ask(b"e")
    assert not cache.calls[3:], "after lookups that came together others are waited for"
    while len(told) < 4:  # noqa: ASYNC110 -- as above
        await asyncio.sleep(0)
    found = {id_: bodies(one) for id_, one in told.items() if isinstance(one, CacheLookup)}
    assert found == {
        b"b": {0: b"b"},
        b"c": {0: b"c"},
        b"d": {0: b"d", 1: b"c"},
        b"e": {0: b"e"},
    }


async def test_a_lookup_never_joins_a_call_that_is_under_way(
    cache: Cache, lookups: JoinedLookups
) -> None:
    cache.may_answer.clear()
    first = asyncio.create_task(lookups(BOOKS, [b"a"]))
    await until(first, cache, 1)
    later = [asyncio.create_task(lookups(BOOKS, [id_])) for id_ in (b"a", b"b")]
    await asyncio.sleep(0)
    assert len(cache.calls) == 1
    cache.may_answer.set()
    assert (await first).read_token == b"token 0"
    assert [(await task).read_token for task in later] == [b"token 1", b"token 1"]
    assert cache.calls[1:] == [(BOOKS, [b"a", b"b"])]


async def test_another_kind_does_not_wait(cache: Cache, lookups: JoinedLookups) -> None:
    cache.may_answer.clear()
    first = asyncio.create_task(lookups(BOOKS, [b"a"]))
    await until(first, cache, 1)
    second = asyncio.create_task(lookups(TITLES, [b"a"]))
    await until(second, cache, 2)
    assert cache.calls == [(BOOKS, [b"a"]), (TITLES, [b"a"])]
    cache.may_answer.set()
    await asyncio.gather(first, second)


async def test_a_full_batch_waits_for_no_other(cache: Cache, lookups: JoinedLookups) -> None:
    cache.may_answer.clear()
    first = asyncio.create_task(lookups(BOOKS, [b"a"]))
    await until(first, cache, 1)
    chunk = LONE_IDS_MIN - 1
    many = [
        asyncio.create_task(lookups(BOOKS, [b"%d" % (start + at) for at in range(chunk)]))
        for start in range(0, JOINED_IDS_MAX, chunk)
    ]
    await until(many[-1], cache, 2)
    assert JOINED_IDS_MAX <= len(cache.calls[1][1]) < JOINED_IDS_MAX + chunk
    cache.may_answer.set()
    await first
    assert all([len((await task).hits) == chunk for task in many])
    assert bodies(await lookups(BOOKS, [b"after"])) == {0: b"after"}


async def test_a_lookup_of_many_ids_goes_alone(cache: Cache, lookups: JoinedLookups) -> None:
    ids = [b"%d" % at for at in range(LONE_IDS_MIN)]
    await asyncio.gather(lookups(BOOKS, ids), lookups(BOOKS, [b"a"]))
    assert sorted(len(asked) for _, asked in cache.calls) == [1, LONE_IDS_MIN]


async def test_a_caller_that_leaves_takes_nobody_along(
    cache: Cache, lookups: JoinedLookups
) -> None:
    cache.may_answer.clear()
    leaving = asyncio.create_task(lookups(BOOKS, [b"a"]))
    staying = asyncio.create_task(lookups(BOOKS, [b"b"]))
    await until(staying, cache, 1)
    leaving.cancel()
    cache.may_answer.set()
    assert bodies(await staying) == {0: b"b"}
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_that_the_cache_is_away_is_everyones_answer(
    cache: Cache, lookups: JoinedLookups
) -> None:
    cache.is_away = True
    found = await asyncio.gather(lookups(BOOKS, [b"a"]), lookups(BOOKS, [b"b"]))
    assert [(lookup.is_available, lookup.hits) for lookup in found] == [(False, {})] * 2


async def test_a_fault_reaches_every_caller_and_ends_with_its_call(
    cache: Cache, lookups: JoinedLookups
) -> None:
    cache.fault = RuntimeError("a mistake")
    callers = [asyncio.create_task(lookups(BOOKS, [id_])) for id_ in (b"a", b"b")]
    await asyncio.wait(callers)
    assert [caller.exception() for caller in callers] == [cache.fault, cache.fault]
    cache.fault = None
    assert bodies(await lookups(BOOKS, [b"a"])) == {0: b"a"}


async def test_an_ask_that_fails_outright_is_the_fault_of_whoever_waits_for_it() -> None:
    fault = ValueError("a name that is none")

    def refuse(_: LookupKind, __: Sequence[bytes], ___: TellLookup) -> None:
        raise fault

    lookups = JoinedLookups(refuse)
    callers = [asyncio.create_task(lookups(BOOKS, [id_])) for id_ in (b"a", b"b")]
    await asyncio.wait(callers)
    assert [caller.exception() for caller in callers] == [fault, fault]
