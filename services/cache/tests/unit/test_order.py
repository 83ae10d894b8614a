"""Fences, settlements, backfills and epochs, one rule at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from layer_cache.application.sessions import DirtySet
from layer_cache.domain.fences import FenceName
from layer_cache.domain.limits import BACKFILL_AGE_S_MAX, CHUNK_ROWS, ROW_BYTES_MAX
from layer_cache.domain.rows import Entry, RowKey, row_keys
from layer_kit.errors import InvalidRequestError, NotFoundError, QuotaExceededError
from layer_kit.names import Namespace

BOOKS, FILMS = Namespace("books"), Namespace("films")
Cache = Any  # the fixture's class lives in conftest.py, which nothing can import


async def test_a_fenced_row_is_a_miss_and_refuses_backfills(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1", b"u2")
    await cache.fence(session, b"f", b"u1")

    found = await cache.lookup(b"u1", b"u2")

    assert found.positions == [1]
    assert await cache.backfill(found.read_token, b"u1", b"u2") == 1


async def test_a_backfill_from_before_a_settled_fence_is_refused(cache: Cache) -> None:
    session = await cache.join()
    token = (await cache.lookup(b"u1")).read_token
    await cache.fence(session, b"f", b"u1")
    during = (await cache.lookup(b"u1")).read_token
    await cache.settle(b"f")

    assert await cache.backfill(token, b"u1") == 0
    assert await cache.backfill(during, b"u1") == 0
    assert await cache.backfill((await cache.lookup(b"u1")).read_token, b"u1") == 1


async def test_a_token_is_void_when_it_is_old(cache: Cache) -> None:
    token = (await cache.lookup(b"u1")).read_token

    cache.now_s += BACKFILL_AGE_S_MAX
    assert await cache.backfill(token, b"u1") == 1
    cache.now_s += 0.1
    assert await cache.backfill(token, b"u2") == 0


async def test_a_touched_id_is_remembered_as_long_as_a_token_is_valid(cache: Cache) -> None:
    session = await cache.join()
    token = (await cache.lookup(b"u1")).read_token
    await cache.fence(session, b"f", b"u1")
    await cache.settle(b"f")
    cache.now_s += BACKFILL_AGE_S_MAX

    await cache.writes.drop(row_keys(BOOKS, [b"u9"], count_max=1))

    assert await cache.backfill(token, b"u1") == 0


async def test_a_token_of_another_incarnation_is_void(cache: Cache) -> None:
    token = (await cache.lookup(b"u1")).read_token
    cache.restart()

    assert await cache.backfill(token, b"u1") == 0


async def test_a_token_that_no_lookup_made_is_refused(cache: Cache) -> None:
    with pytest.raises(InvalidRequestError, match="lookup") as caught:
        await cache.backfill(b"guess", b"u1")

    assert caught.value.reason == "READ_TOKEN_INVALID"


async def test_forgetting_touches_under_pressure_refuses_every_older_backfill(cache: Cache) -> None:
    token = (await cache.lookup(b"u1")).read_token
    ids = [b"u%d" % number for number in range(cache.limits.touched_ids_max + 1)]
    await cache.writes.drop(row_keys(BOOKS, ids, count_max=len(ids)))

    assert await cache.backfill(token, b"other") == 0
    assert cache.statistics.take().touched_ids_count <= cache.limits.touched_ids_max
    assert await cache.backfill((await cache.lookup(b"u1")).read_token, b"u1") == 1


async def test_a_settlement_puts_patches_lifts_and_drops(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1", b"u2", b"u3", b"u4", body=b'{"a":1e400,"b":2}')
    await cache.fence(session, b"f", b"u1", b"u2", b"u3", b"u4", b"u5")

    settled = await cache.settle(
        b"f", puts={b"u1": b'{"a":9}'}, patches={b"u2": b'{"b":3}', b"u5": b"{}"}, lifts=[b"u3"]
    )

    assert settled.stored_count == 3
    assert not settled.is_fence_lost
    assert await cache.holds(b"u1") == b'{"a":9}'
    assert await cache.holds(b"u2") == b'{"a":1e400,"b":3}'
    assert await cache.holds(b"u3") == b'{"a":1e400,"b":2}'
    assert await cache.holds(b"u4") is None
    assert await cache.holds(b"u5") is None, "a part of a row must not pass for the whole"


@pytest.mark.parametrize("first_settles_first", [True, False])
async def test_of_two_overlapping_writes_neither_leaves_an_entry(
    cache: Cache, *, first_settles_first: bool
) -> None:
    session = await cache.join()
    await cache.fill(b"u1", b"u2")
    await cache.fence(session, b"first", b"u1", b"u2")
    await cache.fence(session, b"second", b"u1")

    for name in [b"first", b"second"] if first_settles_first else [b"second", b"first"]:
        lifts = [b"u2"] if name == b"first" else []
        await cache.settle(name, puts={b"u1": b'{"by":1}'}, lifts=lifts)

    assert await cache.holds(b"u1") is None
    assert await cache.holds(b"u2") == b"{}"
    assert cache.statistics.take().overlaps_count == 2


async def test_writes_that_follow_each_other_do_not_overlap(cache: Cache) -> None:
    session = await cache.join()
    for number in range(3):
        name, body = b"f%d" % number, b'{"v":%d}' % number
        await cache.fence(session, name, b"u1")
        await cache.settle(name, puts={b"u1": body})
        assert await cache.holds(b"u1") == body


async def test_a_row_that_a_member_wrote_unfenced_counts_as_overlapped(cache: Cache) -> None:
    session = await cache.join()
    await cache.fence(session, b"f", b"u1")
    await cache.sessions.open("other", DirtySet(keys=row_keys(BOOKS, [b"u1"], count_max=1)))

    await cache.settle(b"f", puts={b"u1": b'{"older":true}'})

    assert await cache.holds(b"u1") is None


async def test_a_fence_that_ran_out_drops_what_it_hid_and_says_so_when_settled(
    cache: Cache,
) -> None:
    session = await cache.join()
    await cache.fill(b"u1", b"u2")
    await cache.fence(session, b"f", b"u1", b"u2", ttl_s=3.0)
    token = (await cache.lookup(b"u1")).read_token
    cache.now_s += 3.0

    settled = await cache.settle(b"f", lifts=[b"u1"])

    assert settled.is_fence_lost
    await cache.sessions.advance()
    cache.restart()
    assert (await cache.lookup(b"u1", b"u2")).positions == []
    assert await cache.backfill(token, b"u1", b"u2") == 0


async def test_an_expired_fence_lets_new_backfills_in_but_no_older_one(cache: Cache) -> None:
    session = await cache.join()
    await cache.fence(session, b"f", b"u1", ttl_s=1.0)
    token = (await cache.lookup(b"u1")).read_token
    cache.now_s += 1.0
    await cache.sessions.advance()

    assert await cache.backfill(token, b"u1") == 0
    await cache.fill(b"u1")
    assert cache.statistics.take().fences_expired_count == 1


async def test_settling_an_unknown_fence_drops_the_rows_it_names(cache: Cache) -> None:
    await cache.fill(b"u1", b"u2", b"u3", b"u4")

    settled = await cache.settle(b"?", puts={b"u1": b"{}"}, patches={b"u2": b"{}"}, lifts=[b"u3"])

    assert settled.is_fence_lost
    assert (await cache.lookup(b"u1", b"u2", b"u3", b"u4")).positions == [3]


async def test_a_row_settled_without_having_been_fenced_is_dropped(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u2")
    await cache.fence(session, b"f", b"u1")

    await cache.settle(b"f", puts={b"u1": b"{}", b"u2": b'{"v":2}'})

    assert (await cache.lookup(b"u1", b"u2")).positions == [0]


async def test_fencing_twice_with_one_id_is_fencing_once(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1")
    for _ in range(2):
        await cache.fence(session, b"f", b"u1", b"u1")

    await cache.settle(b"f", lifts=[b"u1"])

    assert await cache.holds(b"u1") == b"{}"
    assert cache.statistics.take().fenced_ids_count == 0


async def test_a_fence_may_hold_more_rows_than_one_turn(cache: Cache) -> None:
    session = await cache.join()
    ids = [b"u%04d" % number for number in range(2 * CHUNK_ROWS + 1)]
    await cache.fence(session, b"f", *ids)

    settled = await cache.settle(b"f", puts=dict.fromkeys(ids, b"{}"))

    assert settled.stored_count == len(ids)
    assert (await cache.lookup(*ids)).positions == list(range(len(ids)))
    assert await cache.reads.count(BOOKS) == len(ids)


async def test_entries_beyond_the_bound_of_hidden_bytes_are_not_patched(cache: Cache) -> None:
    session = await cache.join()
    body = b'{"a":"%s"}' % (b"x" * 60)
    await cache.fill(b"u1", b"u2", body=body)
    await cache.fence(session, b"f", b"u1", b"u2")
    assert cache.statistics.take().hidden_bytes <= cache.limits.hidden_bytes_max

    settled = await cache.settle(b"f", lifts=[b"u1", b"u2"])

    assert settled.stored_count == 1
    assert cache.statistics.take().hidden_bytes == 0


async def test_more_fences_or_fenced_ids_than_the_bound_are_refused(cache: Cache) -> None:
    session = await cache.join()
    with pytest.raises(QuotaExceededError, match="in flight"):
        await cache.fence(session, b"f", *(b"u%d" % number for number in range(601)))
    for number in range(cache.limits.fences_max):
        await cache.fence(session, b"f%d" % number, b"u%d" % number)

    with pytest.raises(QuotaExceededError, match="in flight"):
        await cache.fence(session, b"one more", b"u9")


async def test_writes_need_a_session(cache: Cache) -> None:
    with pytest.raises(NotFoundError, match="session"):
        await cache.fence("none", b"f", b"u1")
    with pytest.raises(NotFoundError, match="session"):
        await cache.writes.invalidate("none", BOOKS)


async def test_raising_an_epoch_voids_entries_tokens_and_fences_of_that_namespace(
    cache: Cache,
) -> None:
    session = await cache.join()
    await cache.fill(b"u1")
    await cache.fill(b"u1", namespace=FILMS)
    await cache.fence(session, b"f", b"u2")
    token = (await cache.lookup(b"u3")).read_token

    await cache.writes.invalidate(session, BOOKS)

    assert await cache.holds(b"u1") is None
    assert await cache.holds(b"u1", FILMS) == b"{}"
    assert await cache.backfill(token, b"u3") == 0
    assert await cache.backfill(token, b"u3", namespace=FILMS) == 1
    assert (await cache.settle(b"f", puts={b"u2": b"{}"})).stored_count == 0
    await cache.fill(b"u1")


async def test_an_epoch_outlives_the_process(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1")
    await cache.writes.invalidate(session, BOOKS)
    await cache.sessions.close(session)
    cache.restart()

    assert await cache.holds(b"u1") is None
    await cache.fill(b"u1")


async def test_more_epochs_than_the_bound_drop_everything(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1", namespace=FILMS)
    for number in range(cache.limits.epochs_max + 1):
        await cache.writes.invalidate(session, Namespace(f"n{number}"))

    assert await cache.holds(b"u1", FILMS) is None
    assert len(cache.reads.order.eras.epochs) <= cache.limits.epochs_max


async def test_a_row_over_the_bound_is_not_stored_and_counted(cache: Cache) -> None:
    token = (await cache.lookup(b"u1")).read_token
    too_long = b"x" * (ROW_BYTES_MAX + 1)

    assert await cache.backfill(token, b"u1", body=too_long) == 0
    await cache.fence(await cache.join(), b"f", b"u1", b"u2")
    settled = await cache.settle(b"f", puts={b"u1": too_long, b"u2": b"{}"})

    assert (settled.stored_count, settled.is_fence_lost) == (1, False)
    assert cache.statistics.take().oversize_count == 2


async def test_a_fence_settled_while_it_is_being_set_up_leaves_nothing_fenced(
    cache: Cache,
) -> None:
    session = await cache.join()
    ids = [b"u%04d" % number for number in range(CHUNK_ROWS + 1)]
    name = FenceName(BOOKS, b"f")
    fencing = cache.writes.fence(
        session, name, row_keys(BOOKS, ids, count_max=len(ids)), ttl_s=60.0
    )
    fencing.send(None)

    await cache.settle(b"f")
    with pytest.raises(StopIteration):
        fencing.send(None)

    assert cache.statistics.take().fenced_ids_count == 0


async def test_a_cancelled_fence_still_runs_out(cache: Cache) -> None:
    session = await cache.join()
    ids = [b"u%04d" % number for number in range(CHUNK_ROWS + 1)]
    rows = row_keys(BOOKS, ids, count_max=len(ids))
    fencing = cache.writes.fence(session, FenceName(BOOKS, b"f"), rows, ttl_s=60.0)
    fencing.send(None)
    fencing.close()

    cache.now_s += 60.0
    await cache.sessions.advance()

    assert cache.statistics.take().fenced_ids_count == 0


async def test_a_lookup_ends_before_its_bodies_are_more_than_a_message_holds(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layer_cache.application.found.LOOKUP_BYTES_MAX", 250)
    await cache.fill(b"u1", b"u2", b"u3", body=b"{" + b" " * 98 + b"}")

    found = await cache.lookup(b"u1", b"absent", b"u2", b"u3")

    assert found.positions == [0, 2]
    assert await cache.backfill(found.read_token, b"u3") == 1


async def test_no_more_rows_are_read_at_once_than_the_store_says(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [b"u%d" % number for number in range(10)]
    await cache.fill(*ids)
    get, counts = cache.store.get, []

    def counted(keys: Sequence[RowKey]) -> Awaitable[list[Entry | None]]:
        counts.append(len(keys))
        result: Awaitable[list[Entry | None]] = get(keys)
        return result

    monkeypatch.setattr(cache.store, "get", counted)
    monkeypatch.setattr(cache.store, "rows_at_once", lambda: 3)

    assert (await cache.lookup(*ids)).positions == list(range(10))
    await cache.fence(await cache.join(), b"f", *ids)  # which takes them: a read as well

    assert counts == [3, 3, 3, 1] * 2
    assert (await cache.lookup(*ids)).positions == []
