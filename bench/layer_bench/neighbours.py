"""What a large write does to the small queries beside it."""

from __future__ import annotations

import asyncio
import statistics
from typing import Final

from rich.table import Table

from layer_bench.load import Sample, measure
from layer_bench.peers import Peer
from layer_bench.scenarios import big_write, small_query

TITLE: Final = "small queries beside large writes"
QUERY_COUNT: Final = 300
WRITE_COUNT: Final = 4


async def measured(ours: Peer, round_count: int) -> Table:
    """Time small queries alone and beside writes of 18 MB, in turns."""
    table = Table(title=TITLE)
    table.add_column("2 KB query, 1 connection")
    for heading in ("p50 ms", "p99 ms", "longest ms"):
        table.add_column(heading, justify="right")
    pairs = [(await _queries(ours), await _beside_writes(ours)) for _ in range(round_count)]
    for name, samples in zip(
        ("alone", "beside 18 MB writes"), zip(*pairs, strict=True), strict=True
    ):
        table.add_row(
            name,
            f"{statistics.median(sample.p50_us for sample in samples) / 1000:.2f}",
            f"{statistics.median(sample.p99_us for sample in samples) / 1000:.2f}",
            f"{statistics.median(sample.max_us for sample in samples) / 1000:.2f}",
        )
    return table


async def _queries(ours: Peer) -> Sample:
    return await measure(ours, small_query(), connections=1, count=QUERY_COUNT)


async def _beside_writes(ours: Peer) -> Sample:
    async with asyncio.TaskGroup() as group:
        group.create_task(measure(ours, big_write(), connections=1, count=WRITE_COUNT))
        queries = group.create_task(_queries(ours))
    return queries.result()
