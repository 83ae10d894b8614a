"""What every row store must do. One suite, run once per adapter."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_cache.application.steps import live_rows
from layer_cache.domain.eras import Eras
from layer_cache.domain.limits import (
    CHUNK_ROWS,
    READ_BYTES_MAX,
    ROW_BYTES_MAX,
    SCAN_STEP_BYTES_MAX,
)
from layer_cache.domain.rows import Entry, Hits, NewRows, RowKey, row_keys
from layer_cache.ports import Place, RowStore
from layer_kit.names import Namespace

BOOKS, FILMS = Namespace("books"), Namespace("books.more")
Stores = Any  # the fixture's class lives in conftest.py, which nothing can import


def key(number: int, namespace: Namespace = BOOKS) -> RowKey:
    return row_keys(namespace, [b"u%06d" % number], count_max=1)[0]


def entry(stores: Stores, body: bytes = b"{}", *, era: int = 1, vectors: bytes = b"") -> Entry:
    return Entry(era, stores.now_ms, body, vectors)


async def scan_all(store: RowStore, namespace: Namespace, count_max: int) -> list[RowKey]:
    return [
        row_key
        async for rows in live_rows(store, Eras(), namespace, count_max=count_max)
        for row_key, _ in rows
    ]


async def test_entries_come_back_whole_and_in_the_order_asked(stores: Stores) -> None:
    store = await stores.open()
    one = entry(stores, b'{"a":1}', era=2**63, vectors=b'{"vector":[1]}')
    two = entry(stores, b"", era=0)

    assert await store.put([(key(1), one), (key(2), two)]) == 2

    assert await store.get([key(2), key(3), key(1), key(2)]) == [two, None, one, two]
    assert await store.get([]) == []


@pytest.mark.parametrize("vectors", [b"", b'{"vector":[1]}'])
async def test_new_rows_become_the_entries_that_they_stand_for(
    stores: Stores, vectors: bytes
) -> None:
    store = await stores.open()
    keys, bodies = [key(1), key(2), key(1)], [b"old", b'{"a":1}', b"{}"]
    rows = NewRows(keys, bodies, [b"", vectors, b""])

    await store.put_new(rows, era=3, written_ms=stores.now_ms)
    assert await store.put_new(NewRows([], [], []), era=3, written_ms=stores.now_ms) == 0

    assert await store.get([key(1), key(2)]) == [
        entry(stores, b"{}", era=3),
        entry(stores, b'{"a":1}', era=3, vectors=vectors),
    ]


@pytest.mark.parametrize("vectors", [b"", b'{"vector":[1]}'])
async def test_what_is_found_is_neither_absent_nor_over_age_nor_of_an_era_before(
    stores: Stores, vectors: bytes
) -> None:
    store = await stores.open()
    await store.put([(key(1), entry(stores, b"of age", era=5))])
    stores.now_ms += 60_000
    await store.put(
        [
            (key(2), entry(stores, b"before", era=4)),
            (key(3), entry(stores, b"3", era=5, vectors=vectors)),
            (key(4), entry(stores, b"4", era=6)),
        ]
    )

    async def find(*numbers: int, with_vectors: bool) -> Hits:
        keys = [key(number) for number in numbers]
        hits: Hits = await store.find(keys, era_min=5, with_vectors=with_vectors)
        assert store.find_now(keys, era_min=5, with_vectors=with_vectors) in (None, hits)
        return hits

    for numbers in ((1, 2, 3, 4), (2, 0, 3, 4), (2, 1, 3, 4)):
        assert await find(*numbers, with_vectors=True) == ([2, 3], [b"3", b"4"], [vectors, b""])
    assert await find(4, 3, with_vectors=False) == ([0, 1], [b"4", b"3"], [b"", b""])
    assert await find(1, with_vectors=False) == await find(2, with_vectors=False) == ([], [], [])
    assert await find(with_vectors=True) == ([], [], [])


async def test_the_last_put_of_a_key_wins(stores: Stores) -> None:
    store = await stores.open()
    await store.put([(key(1), entry(stores, b"1")), (key(1), entry(stores, b"2"))])
    await store.put([(key(1), entry(stores, b"3"))])

    assert await store.get([key(1)]) == [entry(stores, b"3")]


async def test_a_deleted_entry_is_gone_until_it_is_put_anew(stores: Stores) -> None:
    store = await stores.open()
    await store.put([(key(1), entry(stores, b"old")), (key(2), entry(stores))])
    await store.delete([key(1), key(3)])
    assert await store.get([key(1), key(2)]) == [None, entry(stores)]

    await store.put([(key(1), entry(stores, b"new"))])

    assert await store.get([key(1)]) == [entry(stores, b"new")]


async def test_what_was_put_after_a_mark_is_all_there_until_the_store_says_otherwise(
    bounded_stores: Stores,
) -> None:
    store = await bounded_stores.open()
    body = random.Random(1).randbytes(10_000)  # noqa: S311 -- what does not compress
    await store.put([(key(0), entry(bounded_stores, body))])
    mark, numbers = store.mark(), iter(range(1, 100_000))
    assert store.lost_through() <= mark

    put: list[RowKey] = []
    is_lost = False
    while not is_lost:
        fresh = [key(next(numbers)) for _ in range(100)]
        put += fresh
        rows = [(one, entry(bounded_stores, body)) for one in fresh]
        while await store.put(rows) < len(rows):
            pass  # busy with a flush
        is_missing = None in (await store.get(put))
        is_lost = store.lost_through() > mark
        assert is_lost or not is_missing

    assert len(put) * len(body) > bounded_stores.bytes_max / 2
    await store.delete([key(1)])
    later = store.mark()
    await store.put([(key(1), entry(bounded_stores))])
    assert store.lost_through() <= later


async def test_an_entry_dies_with_its_age(stores: Stores) -> None:
    store = await stores.open()
    await store.put([(key(1), entry(stores))])
    stores.now_ms += 59_999
    assert await store.get([key(1)]) != [None]
    assert await scan_all(store, BOOKS, 10) == [key(1)]

    stores.now_ms += 1

    assert await store.get([key(1)]) == [None]
    assert await scan_all(store, BOOKS, 10) == []


async def test_a_scan_sees_one_namespace_in_order_of_key(stores: Stores) -> None:
    store = await stores.open()
    numbers = random.Random(1).sample(range(1000), 50)  # noqa: S311 -- repeatable
    await store.put([(key(number), entry(stores)) for number in numbers])
    await store.put([(key(number, FILMS), entry(stores)) for number in range(5)])
    await store.delete([key(numbers[0])])

    assert await scan_all(store, BOOKS, 7) == [key(number) for number in sorted(numbers[1:])]
    assert await scan_all(store, FILMS, 7) == [key(number, FILMS) for number in range(5)]
    assert await scan_all(store, Namespace("book"), 7) == []


async def test_a_scan_leaves_out_what_is_of_an_era_before_the_one_given(stores: Stores) -> None:
    store = await stores.open()
    await store.put([(key(number), entry(stores, era=number)) for number in range(20)])

    found: list[RowKey] = []
    after: Place | None = None
    steps_count = 0
    while True:
        page = await store.scan(BOOKS, after=after, count_max=5, era_min=12)
        found += page.rows.keys
        steps_count += 1
        if (after := page.after) is None:
            break

    assert found == [key(number) for number in range(12, 20)]
    assert steps_count >= 4, "one step passes no more rows than it was told to, dead or alive"


@pytest.mark.parametrize("kind", ["embedded", "sqlite"])
async def test_a_step_of_a_scan_ends_early_where_entries_are_big(
    make_stores: Callable[[str], Stores], kind: str
) -> None:
    stores = make_stores(kind)
    stores.bytes_max = 1024**3
    store = await stores.open()
    numbers = range(4 * SCAN_STEP_BYTES_MAX // 200_000)
    for number in numbers:
        await store.put([(key(number), entry(stores, b"x" * 200_000))])

    page = await store.scan(BOOKS, after=None, count_max=len(numbers))

    assert 0 < len(page.rows) < len(numbers)
    assert await scan_all(store, BOOKS, len(numbers)) == [key(number) for number in numbers]
    await stores.close()


@pytest.mark.parametrize("kind", ["embedded", "sqlite"])
async def test_fewer_entries_are_read_at_once_from_when_big_ones_are_among_them(
    make_stores: Callable[[str], Stores], kind: str
) -> None:
    stores = make_stores(kind)
    stores.bytes_max = 1024**3
    store = await stores.open()
    small = entry(stores, b"x" * (READ_BYTES_MAX // CHUNK_ROWS // 2))
    await store.put([(key(number), small) for number in range(4)])
    assert store.rows_at_once() == CHUNK_ROWS

    await store.put([(key(9), entry(stores, b"{}", vectors=b"x" * ROW_BYTES_MAX))])

    assert store.rows_at_once() * ROW_BYTES_MAX <= READ_BYTES_MAX
    store = await stores.reopen(store)
    assert store.rows_at_once() * ROW_BYTES_MAX <= READ_BYTES_MAX
    await stores.close()


async def test_a_scan_goes_on_while_entries_come_and_go(stores: Stores) -> None:
    store = await stores.open()
    await store.put([(key(number), entry(stores)) for number in range(0, 100, 2)])
    seen: list[RowKey] = []
    async for rows in live_rows(store, Eras(), BOOKS, count_max=10):
        seen += [row_key for row_key, _ in rows]
        await store.put([(key(number), entry(stores)) for number in range(1, 100, 2)])
        await store.delete([key(98)])

    assert seen == sorted(set(seen))
    assert {key(number) for number in range(0, 98, 2)} <= set(seen)
    assert key(98) not in seen


@pytest.mark.parametrize("kind", ["memory", "embedded", "sqlite"])
async def test_a_scan_passes_what_was_put_ahead_of_it(
    make_stores: Callable[[str], Stores], kind: str
) -> None:
    stores = make_stores(kind)
    store = await stores.open()
    await store.put([(key(number), entry(stores)) for number in range(100)])
    await store.take([key(50), key(60)])
    seen: dict[RowKey, bytes] = {}
    async for rows in live_rows(store, Eras(), BOOKS, count_max=10):
        seen |= dict(iter(rows))
        if key(30) not in seen:
            await store.put([(key(50), entry(stores, b'{"is":"back"}'))])
        elif key(60) not in seen:
            await store.put([(key(60), entry(stores)), (key(70), entry(stores, b'{"is":"new"}'))])

    assert list(seen) == [key(number) for number in range(100)]
    assert seen[key(50)] == b'{"is":"back"}'
    assert seen[key(70)] == b'{"is":"new"}'
    await stores.close()


async def test_the_oldest_entries_go_when_the_bound_is_met(bounded_stores: Stores) -> None:
    store = await bounded_stores.open()
    noise = random.Random(2)  # noqa: S311 -- repeatable
    count, body_bytes = 3 * bounded_stores.bytes_max // 4096, 4096
    largest = newest = 0
    for start in range(0, count, 64):
        numbers = range(start, min(start + 64, count))
        if await store.put(
            [(key(n), entry(bounded_stores, noise.randbytes(body_bytes))) for n in numbers]
        ):
            newest = numbers[-1]  # a busy store refuses some
        largest = max(largest, store.figures().disk_bytes)

    assert await store.get([key(newest)]) != [None]
    assert len(await scan_all(store, BOOKS, 1000)) <= 1.15 * bounded_stores.bytes_max / body_bytes
    assert largest <= 1.15 * bounded_stores.bytes_max
    assert store.figures().disk_bytes_max == bounded_stores.bytes_max


async def test_eviction_never_brings_a_deleted_or_replaced_entry_back(
    bounded_stores: Stores,
) -> None:
    store = await bounded_stores.open()
    noise = random.Random(3)  # noqa: S311 -- repeatable
    await store.put(
        [(key(n), entry(bounded_stores, b"old" + noise.randbytes(2048))) for n in range(1000)]
    )
    await store.delete([key(n) for n in range(1000)])
    await store.put([(key(n), entry(bounded_stores, b"new")) for n in range(1, 1000, 2)])
    for start in range(1000, 13_000, 250):
        await store.put(
            [
                (key(n), entry(bounded_stores, noise.randbytes(2048)))
                for n in range(start, start + 250)
            ]
        )
        for found in await store.get([key(n) for n in range(1000)]):
            assert found is None or found.body == b"new"


async def test_figures_describe_the_store(stores: Stores) -> None:
    store = await stores.open()
    await store.put([(key(n), entry(stores, b"x" * 1000)) for n in range(100)])

    await stores.measure(store)
    figures = store.figures()

    assert figures.backend == stores.kind
    assert figures.entry_count == 100
    assert figures.disk_bytes > 0
    assert (figures.is_read_only, figures.last_error, figures.refused_count) == (False, "", 0)
    await store.recover()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["put", "delete", "reopen"]), st.integers(0, 4)), max_size=12
    )
)
async def test_it_is_a_map(stores: Stores, steps: list[tuple[str, int]]) -> None:
    store = await stores.open()
    await store.delete([key(n) for n in range(5)])
    expected: dict[RowKey, Entry] = {}
    for version, (step, number) in enumerate(steps):
        if step == "put":
            expected[key(number)] = entry(stores, b"%d" % version)
            await store.put([(key(number), expected[key(number)])])
        elif step == "delete":
            expected.pop(key(number), None)
            await store.delete([key(number)])
        elif stores.kind != "memory":
            store = await stores.reopen(store)
    assert await store.get([key(n) for n in range(5)]) == [expected.get(key(n)) for n in range(5)]
    assert await scan_all(store, BOOKS, 2) == sorted(expected)
    await stores.close()


async def test_a_million_bytes_in_one_entry_come_back(stores: Stores) -> None:
    store = await stores.open()
    big = entry(stores, b"b" * 500_000, vectors=b"v" * 500_000)
    await store.put([(key(1), big)])

    assert await store.get([key(1)]) == [big]


@pytest.mark.parametrize("count", [1, 1000])
async def test_puts_and_deletes_of_any_number_are_seen_at_once(stores: Stores, count: int) -> None:
    store = await stores.open()
    keys = [key(n) for n in range(count)]
    await store.put([(row_key, entry(stores)) for row_key in keys])
    assert None not in await store.get(keys)

    await store.delete(keys)

    assert set(await store.get(keys)) == {None}
