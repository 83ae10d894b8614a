"""Lists by keys alone, against sorting everything there is."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from layer_kit.names import Namespace
from layer_objects import ObjectStore, open_object_store
from layer_snapshots.application.activity import Activity, Event, Position
from layer_snapshots.application.catalogue import LAST, Catalogue
from layer_snapshots.domain.keys import SnapshotName, snapshot_key

NOW_MS = 1_780_000_000_000
DAY_MS = 24 * 3600 * 1000

AGES_MS = st.sampled_from([-DAY_MS, 0, 1, 1000, DAY_MS, 9 * DAY_MS, 800 * DAY_MS, NOW_MS - 1])
NAMES = st.builds(
    lambda age_ms, sha: SnapshotName(NOW_MS - age_ms, f"{sha:07x}"), AGES_MS, st.integers(0, 3)
)
NAMESPACES = st.sampled_from(["a", "a-b", "a.b", "b", "...", "z.json"])
HELD = st.dictionaries(NAMESPACES, st.sets(NAMES, min_size=1, max_size=8), max_size=4)

T = TypeVar("T")


def within_a_store(
    held: dict[str, set[SnapshotName]], work: Callable[[Catalogue], Awaitable[T]]
) -> T:
    """Run ``work`` over a catalogue of a store with these snapshots."""

    async def run(folder: str) -> T:
        objects = open_object_store(Path(folder).as_uri())
        try:
            await fill(objects, held)
            return await work(Catalogue(objects=objects, now_ms=lambda: NOW_MS))
        finally:
            await objects.aclose()

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(folder))


async def fill(objects: ObjectStore, held: dict[str, set[SnapshotName]]) -> None:
    for namespace, names in held.items():
        for name in names:
            await objects.put(snapshot_key(Namespace(namespace), name), b"{}")


@settings(max_examples=25, deadline=None)
@given(st.sets(NAMES, max_size=12), st.none() | NAMES, st.integers(1, 5))
def test_the_newest_are_those_of_sorting_all_of_them(
    names: set[SnapshotName], before: SnapshotName | None, count: int
) -> None:
    async def newest(catalogue: Catalogue) -> list[SnapshotName]:
        return await catalogue.newest(Namespace("a"), count, before=before or LAST)

    expected = sorted((name for name in names if before is None or name < before), reverse=True)
    assert within_a_store({"a": names, "b": names}, newest) == expected[:count]


@settings(max_examples=20, deadline=None)
@given(HELD, st.integers(1, 3), AGES_MS)
def test_pages_of_the_activity_are_all_of_it_once_and_in_order(
    held: dict[str, set[SnapshotName]], page_size: int, age_ms: int
) -> None:
    since_ms = max(0, NOW_MS - age_ms)

    async def read(catalogue: Catalogue) -> list[Event]:
        activity = Activity(catalogue=catalogue)
        found: list[Event] = []
        place: Position | None = None
        while True:
            page = await activity.page(page_size, namespace=None, since_ms=since_ms, after=place)
            found += page.events
            place = page.next_position
            if place is None:
                return found

    expected = [
        Event(Namespace(namespace), name)
        for namespace, names in held.items()
        for name in names
        if name.watermark_ms >= since_ms
    ]
    expected.sort(key=lambda e: (-e.name.watermark_ms, e.namespace, e.name.short_sha))
    assert within_a_store(held, read) == expected


@settings(max_examples=10, deadline=None)
@given(HELD)
def test_every_namespace_with_snapshots_is_found(held: dict[str, set[SnapshotName]]) -> None:
    async def names(catalogue: Catalogue) -> set[str]:
        return {str(name) async for name in catalogue.namespaces()}

    assert within_a_store(held, names) == held.keys()
