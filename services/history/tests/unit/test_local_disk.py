"""What a start makes of what a crash, or a failing disk, has left."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from layer_history.domain.names import DAY_NS
from layer_history_testing.parts import NOW_NS, Parts, files, running_parts, search
from layer_kit.errors import QuotaExceededError, UnavailableError

THREE = [NOW_NS + 2, NOW_NS + 1, NOW_NS]


async def leave_log(tmp_path: Path) -> Path:
    """Append three records without ever sealing them, as if killed; return the log file."""
    async with running_parts(tmp_path / "data", tmp_path / "store") as parts:
        for n in range(3):
            await parts.append(search(NOW_NS + n))
    (path,) = (tmp_path / "data" / "log").iterdir()
    return path


async def moments_after(tmp_path: Path) -> tuple[list[int], Parts]:
    async with running_parts(tmp_path / "data", tmp_path / "store") as parts:
        found = await parts.moments()
        await parts.store()
        assert await parts.moments() == found
        return found, parts


async def test_a_log_is_taken_over(tmp_path: Path) -> None:
    await leave_log(tmp_path)
    found, parts = await moments_after(tmp_path)
    assert (found, parts.disk.used_bytes) == (THREE, 0)


async def test_a_record_that_was_cut_off_takes_none_with_it(tmp_path: Path) -> None:
    path = await leave_log(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    found, parts = await moments_after(tmp_path)
    assert found == THREE[1:]
    assert not parts.damages


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xff" * 3], ids=["zeros", "half a header"])
async def test_what_a_power_cut_leaves_at_the_end_is_no_damage(tmp_path: Path, tail: bytes) -> None:
    path = await leave_log(tmp_path)
    path.write_bytes(path.read_bytes() + tail)
    found, parts = await moments_after(tmp_path)
    assert (found, dict(parts.damages)) == (THREE, {})


@pytest.mark.parametrize("damaged", range(3))
@pytest.mark.parametrize("at", [0, 5, 7, 9, 13, 40])
async def test_a_flipped_bit_costs_its_record_alone_and_the_file_is_kept(
    tmp_path: Path, damaged: int, at: int
) -> None:
    path = await leave_log(tmp_path)
    body = bytearray(path.read_bytes())
    body[len(body) // 3 * damaged + at] ^= 1
    path.write_bytes(body)
    found, parts = await moments_after(tmp_path)
    assert found == [time_ns for time_ns in THREE if time_ns != NOW_NS + damaged]
    assert parts.damages == {"log": 1}
    assert [one.name for one in (tmp_path / "data" / "damaged").iterdir()] == [path.name]


async def test_every_damage_of_a_log_is_counted(tmp_path: Path) -> None:
    path = await leave_log(tmp_path)
    body = bytearray(path.read_bytes())
    for record in (0, 2):
        body[len(body) // 3 * record + 5] ^= 0x40
    path.write_bytes(b"rubbish" + body[: len(body) // 3] + body)
    found, parts = await moments_after(tmp_path)
    assert (found, parts.damages) == ([NOW_NS + 1], {"log": 2})


async def test_damaged_bundles_and_segments_are_passed_by(tmp_path: Path) -> None:
    async with running_parts(tmp_path / "data", tmp_path / "store") as parts:
        for n in range(3):
            await parts.append(search(NOW_NS + n), search(NOW_NS + n + DAY_NS))
            await parts.appending.flush()
    first, second, _ = sorted((tmp_path / "data" / "bundles").iterdir())
    first.write_bytes(b"nothing of use" + first.read_bytes()[-8:])
    body = bytearray(second.read_bytes())
    body[3] ^= 1
    second.write_bytes(body)
    found, parts = await moments_after(tmp_path)
    assert found == [NOW_NS + 2 + DAY_NS, NOW_NS + 1 + DAY_NS, NOW_NS + 2]
    assert (parts.damages["bundle"], parts.damages["segment"]) == (1, 1)


async def test_a_crash_between_bundle_and_log_makes_no_copies(tmp_path: Path) -> None:
    log = await leave_log(tmp_path)
    body = log.read_bytes()
    async with running_parts(tmp_path / "data", tmp_path / "store"):
        pass  # makes the bundle, and removes the log
    log.write_bytes(body)
    found, _ = await moments_after(tmp_path)
    assert found == THREE
    assert len(files(tmp_path, "*.jsonl")) == 1


async def test_a_crash_while_shipping_puts_the_same_objects_again(tmp_path: Path) -> None:
    log = await leave_log(tmp_path)
    body = log.read_bytes()
    await moments_after(tmp_path)
    log.write_bytes(body)
    found, _ = await moments_after(tmp_path)
    assert found == THREE
    assert len(files(tmp_path, "*.jsonl")) == 1


async def test_the_order_of_events_is_theirs_whatever_the_clock_does(tmp_path: Path) -> None:
    for hours_back in (0, 5, 2):
        now_ns = NOW_NS - hours_back * 3600 * 10**9
        async with running_parts(tmp_path / "data", tmp_path / "store", now_ns=now_ns) as parts:
            await parts.store(search(NOW_NS + hours_back))
            await parts.append(search(NOW_NS + hours_back + 10))
    found, _ = await moments_after(tmp_path)
    assert found == [NOW_NS + n for n in (15, 12, 10, 5, 2, 0)]


async def test_the_log_takes_no_more_than_its_budget(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts.appending, "disk_bytes_max", 4_000)
    accepted = 0
    while parts.disk.used_bytes < 3_800:
        await parts.append(search(NOW_NS + accepted))
        accepted += 1
    with pytest.raises(QuotaExceededError) as full:
        await parts.append(search(NOW_NS + accepted))
    assert full.value.reason == "LOG_FULL"
    assert parts.disk.used_bytes <= 4_000
    assert len(await parts.moments()) == accepted
    await parts.store()
    await parts.append(search(NOW_NS + 1_000))


async def test_a_log_that_cannot_be_synced_refuses_and_goes_on_in_a_new_file(
    parts: Parts, tmp_path: Path
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await parts.append(search(NOW_NS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layer_history.adapters.log_files.os.fdatasync", fail)
        with pytest.raises(UnavailableError) as failed:
            await parts.append(search(NOW_NS + 1))
    assert failed.value.reason == "LOG_FAILED"
    await parts.append(search(NOW_NS + 2))
    assert await parts.moments() == [NOW_NS + 2, NOW_NS]
    assert len(files(tmp_path, "*.log")) == 2
    await parts.store()
    assert files(tmp_path, "*.log") == []
    assert await parts.moments() == [NOW_NS + 2, NOW_NS]
