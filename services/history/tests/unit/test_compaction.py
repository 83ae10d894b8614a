"""Compaction and retention: fewer objects, the same events, and no more than policies allow."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from layer_history.domain.names import DAY_NS
from layer_history.domain.policy import Policy
from layer_history_testing.parts import BOOKS, NOW_NS, Parts, files, running_parts, search

TODAY = NOW_NS // DAY_NS


async def test_eight_small_segments_become_one_that_any_tool_reads(
    parts: Parts, tmp_path: Path
) -> None:
    for n in range(8):
        await parts.store(search(NOW_NS + n), search(NOW_NS + 7 - n))
    assert await parts.compaction.compact(BOOKS, TODAY) == 8
    (path,) = files(tmp_path / "store" / "objects" / BOOKS.folder, "*.jsonl*")
    with gzip.open(path, "rt") as lines:
        moments = [json.loads(line)["timestamp_nanos"] for line in lines]
    assert moments == [NOW_NS + n for n in range(8)]
    assert await parts.moments() == moments[::-1]


async def test_seven_segments_of_today_wait_and_those_of_a_day_that_is_over_do_not(
    parts: Parts,
) -> None:
    for n in range(7):
        await parts.store(search(NOW_NS + n), search(NOW_NS + n - 3 * DAY_NS))
    assert await parts.compaction.compact(BOOKS, TODAY) == 0
    assert await parts.retention.keep_up() == 7
    assert len(await parts.catalogue.on(BOOKS, TODAY - 3)) == 1
    assert len(await parts.moments()) == 14


async def test_segments_of_another_replica_are_left_alone_today(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for replica in ("one", "two"):
        async with running_parts(tmp_path / replica, store) as parts:
            for n in range(7):
                await parts.store(search(NOW_NS + n * 2 + (replica == "two")))
            assert await parts.compaction.compact(BOOKS, TODAY) == 0
            assert len(await parts.moments()) == (7 if replica == "one" else 14)


async def test_what_has_expired_goes_with_its_index(parts: Parts, tmp_path: Path) -> None:
    await parts.store(*(search(NOW_NS - 2 * DAY_NS + n, text="x" * 1000) for n in range(600)))
    await parts.store(search(NOW_NS))
    assert files(tmp_path, "*.index")
    await parts.policies.update(BOOKS.namespace, Policy(query_retention_s=24 * 3600))
    assert await parts.retention.keep_up() == 1
    assert not files(tmp_path, "*.index")
    assert await parts.moments() == [NOW_NS]


async def test_a_purge_counts_what_goes_and_keeps_late_events_away(parts: Parts) -> None:
    await parts.store(search(NOW_NS - 5))
    await parts.append(search(NOW_NS - 4))
    assert await parts.retention.purge(BOOKS.namespace) == 1
    await parts.store(search(NOW_NS - 3))
    await parts.store(search(NOW_NS + 1))
    assert await parts.catalogue.on(BOOKS, TODAY)
    later = await parts.moments()
    assert later[0] == NOW_NS + 1


async def test_what_is_damaged_is_counted_and_outlives_compaction(
    parts: Parts, tmp_path: Path
) -> None:
    past_ns = NOW_NS - 3 * DAY_NS
    for first in (0, 100):
        for n in range(first, first + 2):
            await parts.store(search(past_ns + n))
        assert await parts.retention.keep_up() == 2 + (first > 0)
    for n in range(200, 202):
        await parts.store(search(past_ns + n))
    (packed,) = files(tmp_path, "*.jsonl.gz")
    whole = packed.read_bytes()
    packed.write_bytes(whole + b"nonsense")
    assert await parts.retention.keep_up() == 2
    assert parts.damages["object"] > 0
    assert packed.read_bytes() == whole + b"nonsense"
    assert len(await parts.moments()) == 6
    before = files(tmp_path, "*.jsonl.gz")
    assert await parts.retention.keep_up() == 0
    assert files(tmp_path, "*.jsonl.gz") == before
    packed.write_bytes(whole)
    assert await parts.retention.keep_up() == 2
    assert len(await parts.moments()) == 6


async def test_a_damaged_line_outlives_compaction(parts: Parts, tmp_path: Path) -> None:
    for n in range(8):
        await parts.store(search(NOW_NS + n))
    (damaged,) = files(tmp_path, f"{NOW_NS + 3}-*.jsonl")
    damaged.write_bytes(damaged.read_bytes() + b"half a line")
    assert await parts.compaction.compact(BOOKS, TODAY) == 7
    assert damaged.exists()
    assert len(await parts.moments()) == 8
