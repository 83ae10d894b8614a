"""When a scan of the cache stands for one of the store, and when it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from layer_gateway.application.cuts import Cut
from layer_gateway.application.scanning.cached import ReadCached
from layer_gateway.application.scanning.pages import CountTaking
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.domain.warmth import NamespaceWarmth, WarmState
from layer_gateway.ports.scanning import CachedPage, CachedSelection
from layer_gateway.ports.stores import Caller
from layer_kit.errors import CacheColdError, LayerError, UnavailableError
from layer_kit.names import Namespace
from layer_wire.scans import Scan, ScanMode

BOOKS = Namespace("books")
REQUEST = ScanRequest(namespace=BOOKS, scan=Scan(mode=ScanMode.COUNT), caller=Caller())
WARM = NamespaceWarmth(state=WarmState.WARM, warmed_through_ms=100, numbers=(1,))


@dataclass
class Cache:
    """A cache with some rows, whose warmth may change while it is read."""

    rows_count: int = 3
    states_left: list[NamespaceWarmth] = field(default_factory=lambda: [WARM, WARM])
    error: LayerError | None = None
    is_available: bool = True
    watermark_ms: int | None = 100
    cuts: list[int | None] = field(default_factory=list)
    renewed_count: int = 0

    async def states(self, namespaces: Sequence[Namespace] = ()) -> dict[Namespace, Any]:
        return {BOOKS: self.states_left.pop(0)}

    async def count(self, namespace: Namespace, selection: CachedSelection) -> int:
        if self.error is not None:
            raise self.error
        self.cuts.append(selection.upserted_until_ms)
        return self.rows_count

    async def pages(self, *_: object, **__: object) -> AsyncIterator[CachedPage]:
        if self.rows_count:
            yield CachedPage(replica=0, ids=[b"sa"], bodies=[b"{}"])

    def cut(self, namespace: Namespace) -> Cut:
        return Cut(stable_as_of_ms=self.watermark_ms)

    def fell_behind(self, namespace: Namespace, caller: Caller) -> None:
        self.renewed_count += 1

    def check_cache(self) -> None:
        if not self.is_available:
            raise CacheColdError("CACHE_AWAY", "Away.", cache_state="cold")


def reading(cache: Cache) -> ReadCached:
    any_ = cast("Any", cache)
    return ReadCached(
        rows=any_,
        scans=any_,
        warmth=any_,
        facts=any_,
        watermarks=any_,
        warm_jobs=any_,
        store_name="store",
    )


async def whole(cache: Cache) -> int | None:
    """Return the count of a cache that was whole."""
    taking = CountTaking()
    is_whole = await reading(cache).try_whole(REQUEST, taking)
    assert is_whole or taking.rows_count == 0, "what is dropped leaves nothing behind"
    return taking.rows_count if is_whole else None


async def test_a_warm_cache_is_read_up_to_the_moment_through_which_it_is_warm() -> None:
    cache = Cache()

    assert await whole(cache) == 3
    assert (cache.cuts, cache.renewed_count) == ([100], 0)


async def test_a_cache_that_became_warm_anew_while_it_was_read_may_have_lost_rows() -> None:
    again = NamespaceWarmth(state=WarmState.WARM, warmed_through_ms=100, numbers=(2,))

    assert await whole(Cache(states_left=[WARM, again])) is None
    assert await whole(Cache(states_left=[WARM, NamespaceWarmth()])) is None


async def test_a_cold_cache_is_not_read_and_is_brought_in_where_that_can_succeed() -> None:
    known = Cache(states_left=[NamespaceWarmth()])
    unknown = Cache(states_left=[NamespaceWarmth()], watermark_ms=None)

    assert (await whole(known), known.renewed_count, known.cuts) == (None, 1, [])
    assert (await whole(unknown), unknown.renewed_count) == (None, 0)


async def test_a_cache_behind_the_watermark_answers_and_is_brought_up_to_it() -> None:
    cache = Cache(watermark_ms=101)

    assert (await whole(cache), cache.renewed_count) == (3, 1)


@pytest.mark.parametrize(
    "cache",
    [
        Cache(is_available=False),
        Cache(error=UnavailableError("HITS_SUSPENDED", "A gateway is silent.")),
        Cache(rows_count=0),
    ],
    ids=["away", "suspended", "empty"],
)
async def test_the_store_is_asked_when_the_cache_says_nothing(cache: Cache) -> None:
    assert await whole(cache) is None


async def test_who_insists_on_the_cache_hears_when_it_is_away() -> None:
    for cache in (
        Cache(is_available=False),
        Cache(error=UnavailableError("HITS_SUSPENDED", "A gateway is silent.")),
    ):
        with pytest.raises(CacheColdError) as away:
            await reading(cache).insist(REQUEST, CountTaking())
        assert away.value.metadata["cache_state"] == "cold"


async def test_who_insists_on_the_cache_gets_what_is_there() -> None:
    taking = CountTaking()
    cache = Cache(states_left=[NamespaceWarmth()])

    await reading(cache).insist(REQUEST, taking)

    assert (taking.rows_count, cache.cuts) == (3, [None])
