"""Spools of workers that a gateway no longer has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layer_gateway.adapters.history_spool import DirectorySpool, left_behind, worker_folder

ROOM = 1_000

Open = Callable[..., DirectorySpool]


@pytest.fixture
def spool() -> Iterator[Open]:
    """Return what opens a spool and puts batches into it."""
    with contextlib.ExitStack() as stack:

        def open_spool(directory: Path, *batches: bytes) -> DirectorySpool:
            opened = DirectorySpool(directory, ROOM)
            stack.callback(opened.close)
            assert all(map(opened.append, batches))
            return opened

        yield open_spool


def drained(opened: DirectorySpool) -> list[bytes]:
    found = []
    while not opened.is_empty:
        found.append(opened.oldest())
        opened.drop_oldest()
    return found


@pytest.mark.parametrize(
    ("workers_count", "expected"),
    [(0, ["worker-0", "worker-1", "worker-11"]), (2, ["", "worker-11"]), (12, [""])],
)
def test_folders_are_left_behind_by_processes_that_are_no_more(
    spool: Open, tmp_path: Path, workers_count: int, expected: list[str]
) -> None:
    for folder in (tmp_path, *(worker_folder(tmp_path, number) for number in (0, 1, 11))):
        spool(folder, b"a").close()
    spool(worker_folder(tmp_path, 13)).close()
    found = left_behind(tmp_path, workers_count)
    assert found == [tmp_path / name for name in expected]


def test_adopted_batches_follow_the_own_ones_and_survive_another_start(
    spool: Open, tmp_path: Path
) -> None:
    spool(tmp_path / "left", b"c", b"d").close()
    first = spool(tmp_path / "own", b"a", b"b")
    before_bytes = first.size_bytes
    first.adopt(tmp_path / "left")
    assert first.size_bytes == 2 * before_bytes
    first.close()
    assert drained(spool(tmp_path / "left")) == []
    again = spool(tmp_path / "own", b"e")
    assert drained(again) == [b"a", b"b", b"c", b"d", b"e"]
    assert again.size_bytes == 0


def test_a_folder_that_a_process_still_has_is_left_alone(spool: Open, tmp_path: Path) -> None:
    theirs = spool(tmp_path / "theirs", b"a")
    ours = spool(tmp_path / "ours")
    ours.adopt(tmp_path / "theirs")
    assert ours.is_empty
    assert drained(theirs) == [b"a"]


def test_adopted_batches_count_towards_the_room(spool: Open, tmp_path: Path) -> None:
    spool(tmp_path / "left", b"x" * (ROOM - 10)).close()
    ours = spool(tmp_path / "ours")
    ours.adopt(tmp_path / "left")
    assert not ours.append(b"y" * 10)
