"""Damaged files: kept for a while, within a bound, for whoever wants to look at them."""

from __future__ import annotations

import os
from pathlib import Path

from layer_history.adapters.damaged_files import DamagedFiles

KEPT_S = 3600
HOUR_NS = KEPT_S * 10**9


class Clock:
    now_ns = 1_780_000_000_000_000_000

    def __call__(self) -> int:
        return self.now_ns


def make(path: Path, size: int = 10) -> Path:
    """Make a file that was written long ago."""
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(0, 0))
    return path


def opened(tmp_path: Path, clock: Clock, *, bytes_max: int = 1000) -> DamagedFiles:
    (tmp_path / "damaged").mkdir(exist_ok=True)
    return DamagedFiles(tmp_path / "damaged", now_ns=clock, kept_s=KEPT_S, bytes_max=bytes_max)


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "damaged").iterdir())


def test_a_file_is_kept_from_when_it_was_put_aside_however_old_it_is(tmp_path: Path) -> None:
    clock = Clock()
    damaged = opened(tmp_path, clock)
    damaged.add(make(tmp_path / "early"))
    clock.now_ns += HOUR_NS // 2
    damaged.add(make(tmp_path / "late"))
    clock.now_ns += HOUR_NS // 2

    assert damaged.expire() == 0
    clock.now_ns += 1
    assert damaged.expire() == 1

    assert names(tmp_path) == ["late"]


def test_a_new_process_goes_on_with_what_an_earlier_one_has_put_aside(tmp_path: Path) -> None:
    clock = Clock()
    opened(tmp_path, clock).add(make(tmp_path / "early"))
    clock.now_ns += HOUR_NS + 1

    assert opened(tmp_path, clock).expire() == 1

    assert names(tmp_path) == []


def test_the_oldest_make_room_but_the_last_one_stays(tmp_path: Path) -> None:
    clock = Clock()
    damaged = opened(tmp_path, clock, bytes_max=25)
    for name in ("a", "b", "c"):
        clock.now_ns += 1
        damaged.add(make(tmp_path / name))
    assert names(tmp_path) == ["b", "c"]

    clock.now_ns += 1
    damaged.add(make(tmp_path / "large", size=100))

    assert names(tmp_path) == ["large"]


def test_a_file_that_cannot_be_put_aside_stays_where_it_is(tmp_path: Path) -> None:
    damaged = opened(tmp_path, Clock())
    (tmp_path / "damaged").rmdir()

    damaged.add(make(tmp_path / "early"))

    assert (tmp_path / "early").exists()
    assert damaged.expire() == 0
