"""When a namespace counts as held as a whole, and what ends that."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from layer_cache.adapters.memory import MemoryStore
from layer_cache.application import writes
from layer_cache.application.sessions import DirtySet
from layer_cache.application.warmth import SILENCE_S_MAX, NamespaceWarmth, WarmState
from layer_cache.domain.rows import Entry, RowKey, row_keys
from layer_kit.errors import NotFoundError
from layer_kit.names import Namespace

BOOKS = Namespace("books")
Cache = Any  # the fixture's class lives in conftest.py, which nothing can import
WARMED_THROUGH_MS = 5_000


async def state(cache: Cache) -> NamespaceWarmth:
    found: NamespaceWarmth = (await cache.writes.warmth.states([BOOKS]))[0]
    return found


async def make_warm(cache: Cache, *ids: bytes) -> None:
    warmth = cache.writes.warmth
    warm_id = warmth.begin(BOOKS)
    assert (await state(cache)).state is WarmState.WARMING
    await cache.fill(*ids, body=b'{"a":1}')
    assert await warmth.finish(BOOKS, warm_id, WARMED_THROUGH_MS)
    assert (await state(cache)).state is WarmState.WARM


async def settle(cache: Cache, *, is_outcome_known: bool = True, **outcome: Any) -> None:
    """Write u1 and u2 as ``outcome`` says."""
    session = await cache.join()
    await cache.fence(session, b"f", b"u1", b"u2")
    await cache.settle(b"f", is_outcome_known=is_outcome_known, **outcome)


def keys(*ids: bytes) -> list[RowKey]:
    return row_keys(BOOKS, ids, count_max=len(ids))


async def test_a_namespace_is_warm_through_the_moment_its_warming_names(cache: Cache) -> None:
    assert (await state(cache)).state is WarmState.COLD
    await make_warm(cache, b"u1")
    found = await state(cache)
    assert (found.warmed_through_ms, found.warm_number > 0) == (WARMED_THROUGH_MS, True)
    assert await cache.writes.warmth.states() == [found]


async def test_the_revision_changes_with_each_state_and_not_without(cache: Cache) -> None:
    warmth = cache.writes.warmth
    seen = [warmth.revision]

    async def changes() -> bool:
        await warmth.check()
        await warmth.states()
        is_new = warmth.revision not in seen
        seen.append(warmth.revision)
        return is_new

    assert not await changes()
    warm_id = warmth.begin(BOOKS)
    assert await changes()
    warmth.report(BOOKS, warm_id)
    assert warmth.begin(BOOKS) is None
    assert not await changes()
    await warmth.finish(BOOKS, warm_id, WARMED_THROUGH_MS)
    assert await changes()
    warm_id = warmth.begin(BOOKS)
    assert await changes()
    warmth.give_up(BOOKS, warm_id)
    assert await changes()
    warmth.begin(BOOKS)
    assert await changes()
    cache.now_s += SILENCE_S_MAX + 1
    assert await changes()
    await warmth.void([BOOKS])
    assert await changes()
    await warmth.void([BOOKS])
    assert not await changes()


async def test_only_one_warming_of_a_namespace_runs(cache: Cache) -> None:
    warmth = cache.writes.warmth
    first = warmth.begin(BOOKS)
    assert warmth.begin(BOOKS) is None
    warmth.give_up(BOOKS, "another")
    assert warmth.begin(BOOKS) is None
    warmth.give_up(BOOKS, first)
    assert warmth.begin(BOOKS) is not None


async def test_a_silent_warming_is_given_up_and_cannot_finish(cache: Cache) -> None:
    warmth = cache.writes.warmth
    first = warmth.begin(BOOKS)
    cache.now_s += SILENCE_S_MAX
    warmth.report(BOOKS, first)
    cache.now_s += SILENCE_S_MAX + 1
    assert (await state(cache)).state is WarmState.COLD
    second = warmth.begin(BOOKS)
    with pytest.raises(NotFoundError, match="begin again"):
        warmth.report(BOOKS, first)
    with pytest.raises(NotFoundError, match="begin again"):
        await warmth.finish(BOOKS, first, 1)
    assert await warmth.finish(BOOKS, second, 1)


async def test_a_namespace_stays_warm_while_it_is_warmed_anew(cache: Cache) -> None:
    await make_warm(cache, b"u1")
    before = await state(cache)
    warm_id = cache.writes.warmth.begin(BOOKS)
    warming = await state(cache)
    assert (warming.state, warming.warmed_through_ms) == (WarmState.WARMING, WARMED_THROUGH_MS)
    cache.writes.warmth.give_up(BOOKS, warm_id)
    assert (await state(cache)) == before


@pytest.mark.parametrize(
    "outcome",
    [
        {"puts": {b"u1": b"{}", b"u2": b"{}"}},
        {"patches": {b"u1": b'{"a":2}', b"u2": b"{}"}},
        {"puts": {b"u1": b"{}"}},
    ],
    ids=["puts", "patches", "a deletion"],
)
async def test_writes_of_known_outcome_leave_it_warm(cache: Cache, outcome: dict[str, Any]) -> None:
    await make_warm(cache, b"u1", b"u2", b"u3")
    before = await state(cache)
    await settle(cache, **outcome)
    assert (await state(cache)) == before


async def test_a_row_that_is_lifted_leaves_it_warm_under_another_number(cache: Cache) -> None:
    await make_warm(cache, b"u1", b"u2", b"u3")
    before = await state(cache)
    await settle(cache, puts={b"u1": b"{}"}, lifts=[b"u2"])
    after = await state(cache)
    assert after == dataclasses.replace(before, warm_number=after.warm_number)
    assert after.warm_number != before.warm_number


async def is_same_number_after(cache: Cache, **outcome: Any) -> bool:
    """Tell whether numbers say that a scan beside a write of u1 saw everything."""
    await make_warm(cache, b"u1", b"u2")
    before = await state(cache)
    await cache.fence(await cache.join(), b"f", b"u1")
    assert await cache.reads.count(BOOKS) == 1
    telling = asyncio.create_task(cache.writes.settled([BOOKS]))
    await asyncio.sleep(0)
    assert not telling.done()
    await cache.settle(b"f", **outcome)
    await telling
    return (await state(cache)).warm_number == before.warm_number


async def test_a_scan_misses_nothing_in_a_row_that_is_written_meanwhile(cache: Cache) -> None:
    assert await is_same_number_after(cache, puts={b"u1": b"{}"}, is_outcome_known=True)


@pytest.mark.parametrize(
    "outcome", [{"lifts": [b"u1"], "is_outcome_known": True}, {}], ids=["refused", "unknown"]
)
async def test_a_scan_misses_a_row_whose_write_is_under_way_and_does_not_happen(
    cache: Cache, outcome: dict[str, Any]
) -> None:
    assert not await is_same_number_after(cache, **outcome)


class FarStore(MemoryStore):
    """A store that answers a ``take`` when it is told to."""

    def __init__(self, near: MemoryStore) -> None:
        self.__dict__ = near.__dict__
        self.answers = asyncio.Event()

    async def take(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        found = await super().take(keys)
        await self.answers.wait()
        return found


async def test_a_row_that_a_fence_took_after_its_settlement_cools_it(cache: Cache) -> None:
    cache.store = far = FarStore(cache.store)
    cache.restart()
    await make_warm(cache, b"u1")
    session = await cache.join()
    fencing = asyncio.create_task(cache.fence(session, b"f", b"u1"))
    await asyncio.sleep(0)

    await cache.settle(b"f", is_outcome_known=True, lifts=[b"u1"])  # by a gateway that gave up
    far.answers.set()
    await fencing

    assert await cache.holds(b"u1") is None
    assert (await state(cache)).state is WarmState.COLD


async def test_a_write_that_does_not_end_in_time_leaves_scans_in_doubt(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "SETTLING_CHECKS", 1)
    await make_warm(cache, b"u1")
    before = await state(cache)
    await cache.fence(await cache.join(), b"f", b"u1")

    await cache.writes.settled([BOOKS])

    assert (await state(cache)).warm_number not in {before.warm_number, 0}


async def test_nobody_waits_for_writes_of_rows_that_are_not_held(cache: Cache) -> None:
    await make_warm(cache, b"u1")
    before = await state(cache)
    await cache.fence(await cache.join(), b"f", b"u7")

    async with asyncio.timeout(0):
        await cache.writes.settled([BOOKS, Namespace("films")])

    await cache.settle(b"f", is_outcome_known=True, lifts=[b"u7"])
    assert (await state(cache)) == before


async def invalidate(cache: Cache) -> None:
    await cache.writes.invalidate(await cache.join(), BOOKS)


async def lose_track(cache: Cache) -> None:
    await cache.writes.void_everything()


async def abandon(cache: Cache) -> None:
    await settle(cache, is_outcome_known=False)


async def return_dirty(cache: Cache) -> None:
    await cache.sessions.open("late", DirtySet(keys=keys(b"u1")))


async def outlive_fence(cache: Cache) -> None:
    await cache.fence(await cache.join(), b"f", b"u1", ttl_s=1.0)
    cache.now_s += 2.0
    await cache.sessions.advance()


async def settle_late(cache: Cache) -> None:
    await cache.fence(await cache.join(), b"f", b"u1", ttl_s=1.0)
    cache.now_s += 2.0
    await cache.settle(b"f", is_outcome_known=True, lifts=[b"u1"])


async def lift_what_overlapped(cache: Cache) -> None:
    session = await cache.join()
    await cache.fence(session, b"f", b"u1")
    await cache.fence(session, b"g", b"u1")
    await cache.settle(b"g", is_outcome_known=True, lifts=[b"u1"])
    await cache.settle(b"f", is_outcome_known=True, lifts=[b"u1"])


async def lift_what_was_too_big_to_hide(cache: Cache) -> None:
    await cache.fill(b"u1", body=b'{"a":"%s"}' % (b"x" * 200))
    await settle(cache, lifts=[b"u1", b"u2"])


async def come_of_age(cache: Cache) -> None:
    cache.now_s += 7 * 24 * 3600.0


@pytest.mark.parametrize(
    "happen",
    [
        invalidate,
        lose_track,
        abandon,
        return_dirty,
        outlive_fence,
        settle_late,
        lift_what_overlapped,
        lift_what_was_too_big_to_hide,
        come_of_age,
    ],
)
async def test_what_may_have_dropped_an_unchanged_row_cools_it(
    cache: Cache, happen: Callable[[Cache], Awaitable[None]]
) -> None:
    await make_warm(cache, b"u1", b"u2", b"u3")
    await happen(cache)
    assert (await state(cache)).state is WarmState.COLD
    cache.restart()
    assert (await state(cache)).state is WarmState.COLD


async def test_a_warming_whose_rows_were_dropped_cannot_finish(cache: Cache) -> None:
    warm_id = cache.writes.warmth.begin(BOOKS)
    await cache.fill(b"u1")
    await invalidate(cache)
    with pytest.raises(NotFoundError):
        await cache.writes.warmth.finish(BOOKS, warm_id, 1)


async def test_entries_lost_to_the_bound_cool_what_they_belong_to(cache: Cache) -> None:
    await make_warm(cache, b"u1")
    body = b'{"a":"%s"}' % (b"x" * 10**6)
    for number in range(12):
        await cache.fill(b"u%d" % number, body=body, namespace=Namespace("films"))
    assert (await state(cache)).state is WarmState.COLD


async def test_a_warming_that_outgrows_the_store_makes_nothing_warm(cache: Cache) -> None:
    warmth = cache.writes.warmth
    warm_id = warmth.begin(BOOKS)
    for number in range(12):
        await cache.fill(b"u%d" % number, body=b'{"a":"%s"}' % (b"x" * 10**6))
    assert not await warmth.finish(BOOKS, warm_id, 1)
    assert (await state(cache)).state is WarmState.COLD


async def test_warmth_survives_a_clean_restart_under_another_number(cache: Cache) -> None:
    await make_warm(cache, b"u1")
    before = await state(cache)
    cache.now_s += 1
    cache.restart()
    after = await state(cache)
    assert after == dataclasses.replace(before, warm_number=after.warm_number)
    assert after.warm_number != before.warm_number


async def test_an_unknown_fence_cools_the_namespace_it_names(cache: Cache) -> None:
    await make_warm(cache, b"u1")
    await cache.settle(b"unknown", is_outcome_known=True, puts={b"u1": b"{}"})
    assert (await state(cache)).state is WarmState.COLD
