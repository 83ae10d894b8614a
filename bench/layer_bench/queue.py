"""`python -m layer_bench.queue`: queues beside pgqueuer and procrastinate, long ones, worn ones.

Rounds alternate, so that other work on the machine weighs on all of them alike. The server syncs
what it commits, as one that loses nothing does; its data is in memory where there is room, so that
a slow disk is none of the figures. CPU time is that of the database's connections.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import asyncpg
import procrastinate
import structlog
from rich.table import Table

from layer_bench.machine import machine
from layer_bench.printing import say, show
from layer_bench.queue_peers import (
    WORKERS_COUNT,
    Documents,
    Items,
    Pgqueuer,
    Procrastinate,
    opened,
)
from layer_bench.queue_sizes import MIB, LongQueue, Weight, long_queue, weights
from layer_bench.vectorstore import Figure
from layer_testing.postgres import PostgresServer, postgres_server

ROUNDS_COUNT: Final = 3
SLOW_SHARE: Final = 20
"""procrastinate gets this much less to do, or its rounds would take most of the time."""
WEIGHINGS_COUNT: Final = 5
LONG_DEFAULT: Final = (10_000, 100_000, 1_000_000)
DURABLE: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum_naptime": "10s",
    "max_wal_size": "4GB",
}


async def beside_others(server: PostgresServer, count: int) -> list[Figure]:
    """Measure claim, handler and completion in rounds, one after the other."""
    async with AsyncExitStack() as stack:
        documents = Documents(await opened(server.new_database(), stack))
        items = Items(await opened(server.new_database(), stack))
        await items.install()
        url = server.new_database()
        connections = [await asyncpg.connect(url) for _ in range(WORKERS_COUNT)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        pgqueuer = Pgqueuer(connections)
        await pgqueuer.install()
        connector = procrastinate.PsycopgConnector(conninfo=server.new_database())
        app = procrastinate.App(connector=connector)
        await stack.enter_async_context(app.open_async())
        await app.schema_manager.apply_schema_async()
        slow = Procrastinate(app)
        rates: dict[str, list[float]] = {}
        costs_us: dict[str, list[float]] = {}

        async def measured(
            name: str, queue: Documents | Items, work: Callable[[], Awaitable[None]]
        ) -> None:
            begun_us = await queue.cpu_us()
            rates.setdefault(name, []).append(await _rate(work, count))
            costs_us.setdefault(name, []).append((await queue.cpu_us() - begun_us) / count)

        for _ in range(ROUNDS_COUNT):
            await measured("create", documents, lambda: documents.enqueue(count))
            await measured("documents", documents, documents.drain)
            await measured("enqueue", items, lambda: items.enqueue(count))
            await measured("items", items, items.drain)
            await pgqueuer.enqueue(count)
            rates.setdefault("pgqueuer", []).append(await _rate(pgqueuer.drain, count))
            await slow.enqueue(count // SLOW_SHARE)
            rates.setdefault("slow", []).append(await _rate(slow.drain, count // SLOW_SHARE))
    rate = {name: statistics.median(found) for name, found in rates.items()}
    cost_us = {name: statistics.median(found) for name, found in costs_us.items()}
    return [
        Figure("documents enqueued", rate["create"], "ids/s", ">= 100,000"),
        Figure("the same, of the database", cost_us["create"], "CPU µs", "<= 10"),
        Figure("documents claimed and completed", rate["documents"], "/s", ""),
        Figure("the same, of the database", cost_us["documents"], "CPU µs", ""),
        Figure("items of functions enqueued", rate["enqueue"], "ids/s", ">= 100,000"),
        Figure("the same, of the database", cost_us["enqueue"], "CPU µs", "<= 10"),
        Figure("items of functions claimed and completed", rate["items"], "/s", ""),
        Figure("the same, of the database", cost_us["items"], "CPU µs", ""),
        Figure("pgqueuer", rate["pgqueuer"], "jobs/s", ""),
        Figure("procrastinate", rate["slow"], "jobs/s", ""),
        Figure("documents / pgqueuer", _ratio(rates, "documents", "pgqueuer"), "x", ">= 2.5"),
        Figure("documents / procrastinate", _ratio(rates, "documents", "slow"), "x", ">= 50"),
        Figure("items / pgqueuer", _ratio(rates, "items", "pgqueuer"), "x", ""),
        Figure("items / procrastinate", _ratio(rates, "items", "slow"), "x", ""),
    ]


async def _rate(work: Callable[[], Awaitable[None]], count: int) -> float:
    begun_s = time.perf_counter()
    await work()
    return count / (time.perf_counter() - begun_s)


def _ratio(rates: dict[str, list[float]], ours: str, other: str) -> float:
    """Return the median of the rounds' own ratios, so that a slow minute counts for both."""
    return statistics.median(
        mine / theirs for mine, theirs in zip(rates[ours], rates[other], strict=True)
    )


def peers_table(figures: list[Figure]) -> Table:
    table = Table("queues, batches of 100, four workers", "measured", "", "goal")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, figure.goal)
    return table


def long_table(found: list[LongQueue]) -> Table:
    rows: list[tuple[str, list[str]]] = [
        ("enqueued, ids/s", [f"{one.enqueued_per_s:,.0f}" for one in found]),
        ("the same, CPU µs", [f"{one.enqueue_us:.1f}" for one in found]),
        ("claimed and completed, /s", [f"{one.completed_per_s:,.0f}" for one in found]),
        ("the same, CPU µs", [f"{one.complete_us:.1f}" for one in found]),
        ("claim of 10, 64 workers, p50 ms", [f"{one.claim_p50_ms:.1f}" for one in found]),
        ("the same, p99 ms, goal 20", [f"{one.claim_p99_ms:.1f}" for one in found]),
        ("claim of 10, p50 CPU ms", [f"{one.claim_cpu_p50_ms:.2f}" for one in found]),
        ("the same, p99 CPU ms", [f"{one.claim_cpu_p99_ms:.2f}" for one in found]),
        ("counts of a status, ms", [f"{one.counts_ms:.1f}" for one in found]),
        ("counts by reading the queue, ms", [f"{one.reading_ms:.1f}" for one in found]),
    ]
    table = Table("documents pending", *(f"{one.pending_count:,}" for one in found))
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def weights_table(found: list[Weight]) -> Table:
    table = Table(
        *("completed", "documents/s", "table", "MiB", "its indexes, MiB", "dead rows", "vacuums")
    )
    for one in found:
        table.add_row(
            f"{one.completed_count:,}",
            f"{one.documents_per_s:,.0f}",
            one.name,
            f"{one.table_bytes / MIB:,.1f}",
            f"{one.index_bytes / MIB:,.1f}",
            f"{one.dead_count:,}",
            str(one.vacuum_count),
        )
    return table


async def run(options: argparse.Namespace) -> None:
    """Measure, and print each table as soon as it is there."""
    with postgres_server(**DURABLE) as server:
        if options.documents:
            show(peers_table(await beside_others(server, options.documents)))
            say(machine())
        if options.pending:
            found = [await long_queue(server, count) for count in options.pending]
            show(long_table(found))
            say(machine())
        if options.completed:
            async for weighed in weights(server, options.completed, WEIGHINGS_COUNT):
                show(weights_table(weighed))
                say(machine())


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000, help="a round; 0 = no rounds")
    parser.add_argument(
        "--pending", type=int, nargs="*", default=LONG_DEFAULT, help="in long queues"
    )
    parser.add_argument(
        "--completed", type=int, default=200_000, help="while tables are weighed; 0 = none"
    )
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.disable(logging.WARNING)  # procrastinate tells of each job
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
