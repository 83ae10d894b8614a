"""Reading finds every event once, wherever it is and however it came there."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_history.application.reading import Selection
from layer_history.domain.events import Query
from layer_history.domain.limits import WHOLE_BYTES_MAX
from layer_history.domain.names import DAY_NS
from layer_history_testing.parts import BOOKS, NOW_NS, Parts, files, running_parts, search
from layer_objects import open_object_store

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "flush", "ship", "compact", "restart"]),
        st.lists(st.integers(0, 40), min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=12,
)


@pytest.fixture(scope="module", autouse=True)
def short_runs() -> Iterator[None]:
    """Have memory hold events in many runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layer_history.application.recent.RUN_EVENTS_MAX", 3)
        yield


async def paged(parts: Parts, limit: int) -> list[int]:
    found: list[int] = []
    newest_ns = NOW_NS * 2
    while True:
        page = await parts.reading.find(Selection(stream=BOOKS, limit=limit, newest_ns=newest_ns))
        found += [event.time_ns for event in page.events]
        if page.before_ns is None:
            return found
        newest_ns = page.before_ns - 1


@given(steps=STEPS, limit=st.integers(1, 7))
@settings(max_examples=40, deadline=None)
async def test_any_way_of_an_event_leads_to_one_place_in_the_list(
    steps: list[tuple[str, list[int]]], limit: int
) -> None:
    known: set[int] = set()
    with tempfile.TemporaryDirectory() as directory:
        data, store = Path(directory, "data"), Path(directory, "store")
        todo = list(steps)
        while todo:
            async with running_parts(data, store) as parts:
                while todo and todo[0][0] != "restart":
                    step, numbers = todo.pop(0)
                    await _take(parts, step, numbers, known)
                todo = todo[1:]
                assert await paged(parts, limit) == sorted(known, reverse=True)


async def _take(parts: Parts, step: str, numbers: list[int], known: set[int]) -> None:
    match step:
        case "append":
            # Forty moments over five days, so that many are appended more than once.
            moments = [NOW_NS + number * DAY_NS // 8 for number in numbers]
            known.update(moments)
            await parts.append(*map(search, moments))
        case "flush":
            await parts.appending.flush()
        case "ship":
            await parts.store()
        case _:
            for day in range(NOW_NS // DAY_NS, NOW_NS // DAY_NS + 6):
                await parts.compaction.compact(BOOKS, day)


async def test_a_large_segment_is_read_by_its_blocks(parts: Parts) -> None:
    values = large_searches()
    await parts.store(*values)
    listed = await parts.catalogue.on(BOOKS, NOW_NS // DAY_NS)
    assert [one.size_bytes > WHOLE_BYTES_MAX for one in listed] == [True]
    newest = [value.timestamp_nanos for value in values[::-1]]
    assert await paged(parts, 300) == newest
    wanted = values[7]
    found = await parts.moments(trace_id=wanted.trace_id or "")
    assert found == [wanted.timestamp_nanos]
    assert await parts.moments(tags=("rare",)) == [values[11].timestamp_nanos]


def large_searches(count: int = 2_000) -> list[Query]:
    """Return searches that together make a segment with an index."""
    rng = random.Random(1)  # noqa: S311 -- the same each time
    return [
        search(
            NOW_NS + n,
            trace_id=f"{rng.getrandbits(128):032x}",
            tags=["rare"] if n == 11 else [],
            text="x" * 300,
        )
        for n in range(count)
    ]


async def test_a_lost_or_damaged_index_costs_time_alone(parts: Parts, tmp_path: Path) -> None:
    await parts.store(*large_searches())
    (index,) = files(tmp_path, "*.index")
    index.write_bytes(b"nonsense")
    assert len(await paged(parts, 400)) == 2_000
    assert parts.damages["object"] > 0
    index.unlink()
    assert len(await paged(parts, 400)) == 2_000


async def test_a_damaged_object_is_passed_by_and_the_rest_is_read(
    parts: Parts, tmp_path: Path
) -> None:
    await parts.store(search(NOW_NS))
    await parts.store(search(NOW_NS + 1))
    await parts.store(search(NOW_NS + 2))
    (second,) = files(tmp_path, f"{NOW_NS + 1}-*")
    second.write_bytes(b'{"timestamp_nanos": 1, "name\n\xff\xfe\n')
    assert await parts.moments() == [NOW_NS + 2, NOW_NS]
    assert parts.damages["line"] == 2


class HookedStore:
    """An object store that lets something happen right before its first read."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects
        self.hook: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    async def get(self, key: str) -> Any:
        hook, self.hook = self.hook, None
        if hook is not None:
            await hook()
        return await self._objects.get(key)


async def test_a_segment_that_is_merged_while_it_is_read_is_not_missed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    objects = HookedStore(open_object_store(store.as_uri()))
    async with running_parts(tmp_path / "data", store, objects=objects) as parts:
        for n in range(8):
            await parts.store(search(NOW_NS + n))
        objects.hook = lambda: parts.compaction.compact(BOOKS, NOW_NS // DAY_NS)
        assert await parts.moments() == [NOW_NS + n for n in reversed(range(8))]
    assert len(files(store, "*.jsonl")) == 0
    assert len(files(store, "*.jsonl.gz")) == 1


async def test_pages_that_end_early_always_get_on(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layer_history.application.reading.SCANNED_EVENTS_MAX", 3)
    for n in range(12):  # each reaches over all the others
        await parts.store(search(NOW_NS + n), search(NOW_NS + 50 + n), search(NOW_NS + 100 + n))
    newest_ns, seen = NOW_NS + 80, list[int]()
    while True:
        page = await parts.reading.find(Selection(stream=BOOKS, limit=2, newest_ns=newest_ns))
        seen += [event.time_ns for event in page.events]
        if page.before_ns is None:
            break
        assert page.before_ns <= newest_ns
        newest_ns = page.before_ns - 1
    assert seen == [NOW_NS + n for n in (*range(61, 49, -1), *range(11, -1, -1))]
