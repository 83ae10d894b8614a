"""Writes that are settled by several calls."""

from __future__ import annotations

from typing import Any

import pytest

from layer_cache.application.writes import Settlement
from layer_cache.domain.fences import FenceName
from layer_cache.domain.limits import CHUNK_ROWS
from layer_cache.domain.rows import row_keys
from layer_cache_testing.world import run
from layer_kit.names import Namespace

BOOKS = Namespace("books")
Cache = Any  # the fixture's class lives in conftest.py, which nothing can import


async def test_a_part_of_a_write_is_there_while_the_rest_stays_fenced(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1", b"u2", b"u3")
    await cache.fence(session, b"f", b"u1", b"u2", b"u3")

    settled = await cache.settle(b"f", puts={b"u1": b'{"v":1}'}, is_partial=True)
    assert (settled.stored_count, settled.is_fence_lost) == (1, False)
    assert await cache.holds(b"u1") == b'{"v":1}'
    token = (await cache.lookup(b"u2")).read_token
    assert await cache.backfill(token, b"u2") == 0
    settled = await cache.settle(b"f", patches={b"u2": b'{"v":2}'}, is_partial=True)
    assert (settled.stored_count, settled.is_fence_lost) == (1, False)

    settled = await cache.settle(b"f", lifts=[b"u3"])
    assert (settled.stored_count, settled.is_fence_lost) == (1, False)
    assert (await cache.lookup(b"u1", b"u2", b"u3")).positions == [0, 1, 2]
    assert cache.statistics.take().fenced_ids_count == 0


async def test_a_part_that_names_a_row_twice_leaves_the_fence_in_order(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1", b"u2")
    await cache.fence(session, b"f", b"u1", b"u2")

    settled = await cache.settle(
        b"f", puts={b"u1": b'{"v":1}'}, patches={b"u1": b'{"w":1}'}, is_partial=True
    )
    await cache.settle(b"f", lifts=[b"u2"])

    assert not settled.is_fence_lost
    assert (await cache.lookup(b"u1", b"u2")).positions == [0, 1]
    assert cache.statistics.take().fenced_ids_count == 0


async def test_what_no_part_names_is_dropped_at_the_end(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1", b"u2")
    await cache.fence(session, b"f", b"u1", b"u2")

    await cache.settle(b"f", puts={b"u1": b"{}"}, is_partial=True)
    await cache.settle(b"f")

    assert (await cache.lookup(b"u1", b"u2")).positions == [0]


async def test_a_part_that_another_write_overlapped_is_dropped(cache: Cache) -> None:
    session = await cache.join()
    await cache.fence(session, b"f", b"u1", b"u2")
    await cache.settle(b"f", puts={b"u1": b'{"v":1}'}, is_partial=True)
    await cache.fence(session, b"g", b"u1", b"u2")

    await cache.settle(b"f", puts={b"u2": b'{"v":1}'}, is_partial=True)
    await cache.settle(b"f")
    await cache.settle(b"g", puts={b"u1": b'{"v":2}', b"u2": b'{"v":2}'})

    assert await cache.holds(b"u1") == b'{"v":2}'
    assert (await cache.lookup(b"u2")).positions == []


async def test_a_fence_that_ran_out_between_two_parts_is_lost(cache: Cache) -> None:
    session = await cache.join()
    await cache.fence(session, b"f", b"u1", b"u2", ttl_s=3.0)
    await cache.settle(b"f", puts={b"u1": b"{}"}, is_partial=True)
    cache.now_s += 3.0

    settled = await cache.settle(b"f", puts={b"u2": b"{}"}, is_partial=True)

    assert settled.is_fence_lost
    assert (await cache.lookup(b"u2")).positions == []
    await cache.sessions.advance()
    assert cache.statistics.take().fenced_ids_count == 0


@pytest.mark.parametrize("is_run_out", [True, False], ids=["ran out", "cancelled"])
async def test_a_part_that_does_not_come_to_its_end_leaves_nothing_fenced(
    cache: Cache, *, is_run_out: bool
) -> None:
    session = await cache.join()
    ids = [b"u%04d" % number for number in range(2 * CHUNK_ROWS)]
    await cache.fence(session, b"f", *ids, ttl_s=3.0)
    keys = row_keys(BOOKS, ids[: CHUNK_ROWS + 1], count_max=len(ids))
    part = Settlement(puts=dict.fromkeys(keys, (b"{}", b"")), is_partial=True)
    settling = cache.writes.settle(FenceName(BOOKS, b"f"), part)
    settling.send(None)

    if is_run_out:
        cache.now_s += 3.0
        await cache.sessions.advance()
        assert run(settling).is_fence_lost
        assert (await cache.lookup(*ids)).positions == []
    else:
        settling.close()
    await cache.sessions.advance()

    assert cache.statistics.take().fenced_ids_count == 0
    assert (await cache.settle(b"f")).is_fence_lost
