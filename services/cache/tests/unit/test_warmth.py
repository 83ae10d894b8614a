"""When a namespace counts as held as a whole, and what ends that."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from layer_cache.application.sessions import DirtySet
from layer_cache.application.warmth import SILENCE_S_MAX, NamespaceWarmth, WarmState
from layer_cache.domain.rows import RowKey, row_keys
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
        {"lifts": [b"u1", b"u2"]},
    ],
    ids=["puts", "patches", "a deletion", "lifts"],
)
async def test_writes_of_known_outcome_leave_it_warm(cache: Cache, outcome: dict[str, Any]) -> None:
    await make_warm(cache, b"u1", b"u2", b"u3")
    before = await state(cache)
    await settle(cache, **outcome)
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
