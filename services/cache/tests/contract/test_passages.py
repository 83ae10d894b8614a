"""Iterators that stay open between the steps of a scan: when they do, and what ends that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rocksdict import Options, Rdict

from layer_cache.adapters import passages as passages_module
from layer_cache.adapters.passages import Passages
from layer_cache.domain.rows import RowKey, row_keys
from layer_cache.ports import Place
from layer_kit.names import Namespace

BOOKS, FILMS = Namespace("books"), Namespace("films")
ROWS_COUNT = 50


class Rows:
    """A database that counts how often an iterator over it was opened."""

    def __init__(self, path: Path) -> None:
        self.database = Rdict(str(path), Options(raw_mode=True))
        self.openings_count = 0

    def items(self, **options: Any) -> Any:
        self.openings_count += 1
        return self.database.items(**options)

    def put(self, key: RowKey, value: bytes) -> None:
        self.database[key] = value


class Scan:
    """Passes a namespace step by step."""

    def __init__(self, rows: Any, passages: Passages) -> None:
        self.rows = rows
        self.passages = passages
        self.seen: list[RowKey] = []
        self.place: Place | None = None

    def step(self, count_max: int = 5) -> bool:
        """Pass some rows; tell whether there may be more."""
        keys, values, self.place = self.passages.step(self.rows, BOOKS, self.place, count_max)
        self.seen += keys
        assert len(values) == len(keys) <= count_max
        return self.place is not None


def keys_of(namespace: Namespace, *numbers: int) -> list[RowKey]:
    return row_keys(namespace, [b"u%03d" % number for number in numbers], count_max=ROWS_COUNT)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    made = Rows(tmp_path)
    for key in keys_of(BOOKS, *range(ROWS_COUNT)):
        made.put(key, b"{}")
    yield made
    made.database.close()


@pytest.fixture
def passages() -> Iterator[Passages]:
    made = Passages()
    yield made
    made.close()


async def test_a_quiet_scan_opens_two_iterators_and_the_second_reads_ahead(
    rows: Rows, passages: Passages
) -> None:
    scan = Scan(rows, passages)
    while scan.step():
        pass

    assert scan.seen == keys_of(BOOKS, *range(ROWS_COUNT))
    assert rows.openings_count == 2
    assert len(scan.seen) > 3 * 5


async def test_one_step_that_passes_everything_opens_one(rows: Rows, passages: Passages) -> None:
    assert not Scan(rows, passages).step(ROWS_COUNT + 1)

    assert rows.openings_count == 1


async def test_a_write_to_the_namespace_ends_what_passes_it_and_no_other_does(
    rows: Rows, passages: Passages
) -> None:
    scan = Scan(rows, passages)
    scan.step()
    scan.step()
    passages.written(keys_of(FILMS, 1))
    scan.step()
    assert rows.openings_count == 2

    gone, changed = keys_of(BOOKS, 20, 30)
    passages.written([*keys_of(FILMS, 1), gone, changed])
    rows.database.delete(gone)
    new = RowKey(changed + b"0")
    rows.put(new, b"{}")
    while scan.step():
        pass

    assert gone not in scan.seen
    assert new in scan.seen
    assert scan.seen == sorted(set(scan.seen))


async def test_an_iterator_is_closed_after_a_time_and_the_scan_goes_on_with_another(
    rows: Rows, passages: Passages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passages_module, "HELD_S_MAX", 0.0)
    scan = Scan(rows, passages)
    while scan.step():
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert rows.openings_count == ROWS_COUNT // 5 + 1
    assert scan.seen == keys_of(BOOKS, *range(ROWS_COUNT))


async def test_a_step_may_be_repeated(rows: Rows, passages: Passages) -> None:
    scan = Scan(rows, passages)
    scan.step()
    scan.step()
    place = scan.place

    scan.step()
    scan.place = place
    scan.step()

    assert scan.seen[-5:] == scan.seen[-10:-5] == keys_of(BOOKS, *range(10, 15))


async def test_two_scans_do_not_share_an_iterator(rows: Rows, passages: Passages) -> None:
    one, other = Scan(rows, passages), Scan(rows, passages)
    is_one_done = is_other_done = False
    while not (is_one_done and is_other_done):
        is_one_done = is_one_done or not one.step(3)
        is_other_done = is_other_done or not other.step(4)

    assert one.seen == other.seen == keys_of(BOOKS, *range(ROWS_COUNT))
