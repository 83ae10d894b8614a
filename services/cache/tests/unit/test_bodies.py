"""Projection and merging of bodies, and scans over them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from layer_cache.adapters.memory import MemoryStore
from layer_cache.application.found import Projection
from layer_cache.application.reads import MARKER, Selection
from layer_cache.application.steps import live_rows
from layer_cache.domain.bodies import merge, project
from layer_cache.domain.eras import Eras
from layer_cache.domain.limits import (
    ID_BYTES_MAX,
    IDS_PER_CALL_MAX,
    SCAN_STEP_ROWS,
    SCAN_STEP_TESTS,
)
from layer_cache.domain.rows import Entry, Hits, row_keys
from layer_cache.ports import Page
from layer_kit.errors import InvalidRequestError, UnavailableError
from layer_kit.names import Namespace
from layer_wire.row_filters import compile_filter

BOOKS = Namespace("books")
BODY = b'{"a":1.50,"big":18446744073709551615,"text":"\\u00e9","list":[1,2]}'
Cache = Any  # the fixture's class lives in conftest.py, which nothing can import


def test_a_projection_keeps_the_bytes_of_each_value() -> None:
    assert project(BODY, ["big", "text", "a", "absent"]) == (
        b'{"big":18446744073709551615,"text":"\\u00e9","a":1.50}'
    )


def test_a_merge_replaces_adds_and_removes_attributes() -> None:
    patch = b'{"a":null,"b":2,"c":[]}'
    assert merge(b'{"a":1,"b":1,"x":1e400}', patch) == b'{"b":2,"x":1e400,"c":[]}'


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"a":', b"null", b'{"\xff":1}', b'{"a":' + b"[" * 100_000],
    ids=["empty", "array", "cut", "null", "no UTF-8", "deep"],
)
def test_a_body_that_is_no_object_has_no_projection(body: bytes) -> None:
    assert project(body, ["a"]) is None
    assert merge(body, b"{}") is None
    assert merge(b"{}", body) is None


async def test_a_lookup_returns_what_was_asked_for(cache: Cache) -> None:
    token = (await cache.lookup(b"u1")).read_token
    await cache.reads.backfill(BOOKS, token, [b"u1"], [BODY], [b'{"vector":[1]}'])

    async def look(projection: Projection) -> tuple[bytes, bytes]:
        found = await cache.reads.lookup(BOOKS, [b"u0", b"u1"], projection)
        assert found.positions == [1]
        return found.bodies[0], found.vectors[0]

    assert await look(Projection()) == (BODY, b"")
    assert await look(Projection(with_vectors=True)) == (BODY, b'{"vector":[1]}')
    assert await look(Projection(attribute_names=["a"])) == (b'{"a":1.50}', b"")
    assert await look(Projection(ids_only=True)) == (b"{}", b"")


async def test_a_damaged_body_is_a_miss_when_it_must_be_read(cache: Cache) -> None:
    await cache.fill(b"u1", body=b"damaged")

    found = await cache.reads.lookup(BOOKS, [b"u1"], Projection(attribute_names=["a"]))

    assert found.positions == []


async def test_a_scan_pages_in_order_of_id_within_its_namespace(cache: Cache) -> None:
    await cache.fill(b"u3", b"u1", b"u2", body=b'{"a":1,"b":2}')
    await cache.fill(b"u0", namespace=Namespace("books2"))
    await cache.fill(b"u4", body=b"damaged")

    only = Projection(attribute_names=["b"])
    pages = [page async for page in cache.reads.scan(BOOKS, page_size=2, projection=only)]

    assert [ids for ids, _ in pages] == [[b"u1", b"u2"], [b"u3"]]
    assert pages[0][1] == [b'{"b":2}'] * 2
    assert await cache.reads.count(BOOKS) == 4


async def test_a_scan_fails_rather_than_end_early_when_hits_are_suspended(cache: Cache) -> None:
    await cache.join()
    await cache.fill(b"u1", b"u2")
    pages = cache.reads.scan(BOOKS, page_size=1, projection=Projection())
    await anext(pages)
    cache.now_s += 60.0

    with pytest.raises(UnavailableError, match="upstream") as caught:
        [page async for page in pages]

    assert caught.value.reason == "HITS_SUSPENDED"


class InvalidatedMeanwhile(MemoryStore):
    """A store so far away that the namespace is invalidated before its first answer is here."""

    eras: Eras

    async def scan(self, *args: Any, **options: Any) -> Page:
        page = await super().scan(*args, **options)
        if not self.eras.epochs:
            self.eras.raise_namespace(BOOKS)
        return page


async def test_what_a_far_store_sent_before_an_invalidation_is_not_yielded() -> None:
    store = InvalidatedMeanwhile(bytes_max=10**6, ttl_s=60.0, now_ms=lambda: 1)
    store.eras = Eras()
    keys = row_keys(BOOKS, [b"u1", b"u2"], count_max=2)
    await store.put(
        [(keys[0], Entry(store.eras.current, 1, b"{}", b"")), (keys[1], Entry(9, 1, b"{}", b""))]
    )

    rows = [row async for rows in live_rows(store, store.eras, BOOKS) for row in rows]

    assert rows == [(keys[1], b"{}")]


async def test_what_a_far_store_found_before_an_invalidation_is_a_miss(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.fill(b"u1")
    find = cache.store.find

    async def found_too_early(*args: Any, **options: Any) -> Hits:
        hits: Hits = await find(*args, **options)
        assert hits.positions == [0]
        await cache.writes.void_namespace(BOOKS)
        return hits

    monkeypatch.setattr(cache.store, "find", found_too_early)

    assert (await cache.lookup(b"u1")).positions == []


@pytest.mark.parametrize("filter_", [None, b'["id","Gte",0]'])
async def test_a_scan_leaves_out_the_marker_row_before_the_filter_sees_it(
    cache: Cache, filter_: bytes | None
) -> None:
    await cache.fill(b"u3", b"u1", MARKER)
    selection = Selection(
        filter=None if filter_ is None else compile_filter(filter_, {"id": "uint"})
    )

    pages = [
        ids
        async for ids, _ in cache.reads.scan(
            BOOKS, page_size=0, projection=Projection(ids_only=True), selection=selection
        )
    ]

    assert pages == [[b"u1", b"u3"]]


async def test_the_more_a_filter_asks_of_a_row_the_fewer_rows_pass_before_others_have_their_turn(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [b"u%d" % number for number in range(100)]
    await cache.fill(*ids, body=b'{"year":1815}')
    scan, steps = cache.store.scan, []

    async def noted(namespace: Namespace, **options: Any) -> Page:
        steps.append(options["count_max"])
        page: Page = await scan(namespace, **options)
        return page

    monkeypatch.setattr(cache.store, "scan", noted)
    for tests_count, rows_max in ((1, SCAN_STEP_ROWS), (200, SCAN_STEP_TESTS // 200)):
        text = msgspec.json.encode(["And", [["year", "Eq", 1815]] * tests_count])
        selection = Selection(filter=compile_filter(text, {"year": "int"}))
        assert await cache.reads.count(BOOKS, selection) == 100

        assert rows_max * 0.9 < max(steps) <= rows_max
        steps.clear()


async def test_a_page_ends_where_its_bodies_are_enough(cache: Cache) -> None:
    cache.store = MemoryStore(bytes_max=10**8, ttl_s=10**6, now_ms=cache.now_ms)
    cache.restart()
    big = b'{"a":"%s"}' % (b"x" * 2**20)
    for number in range(10):
        await cache.fill(b"u%d" % number, body=big)

    pages = [page async for page in cache.reads.scan(BOOKS, page_size=0, projection=Projection())]

    assert [len(ids) for ids, _ in pages] == [8, 2]
    assert [body for _, bodies in pages for body in bodies] == [big] * 10


async def test_ids_are_bounded_in_number_and_length(cache: Cache) -> None:
    with pytest.raises(InvalidRequestError, match="split the call"):
        await cache.lookup(*[b"u1"] * (IDS_PER_CALL_MAX + 1))
    for row_id in (b"", b"s" + b"x" * ID_BYTES_MAX):
        with pytest.raises(InvalidRequestError, match="1 to 256 bytes"):
            await cache.lookup(row_id)
