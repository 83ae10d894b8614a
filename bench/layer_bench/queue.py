"""The queue of documents: beside pgqueuer and procrastinate, and when it is long.

Run alone: ``python -m layer_bench.queue``. All three have the same PostgreSQL, one process with
four workers, a handler that does nothing, retries, and a hold on what is being worked on. Rounds
alternate, so that other work on the machine weighs on all of them alike.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import asyncpg
import procrastinate
import structlog
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.domain.types import QueueExecutionMode
from procrastinate.types import JSONDict
from prometheus_client import CollectorRegistry
from rich.table import Table

from layer_bench.load import cpu_ns
from layer_bench.printing import show
from layer_bench.vectorstore import Figure
from layer_runtime.adapters.postgres.database import Database, Limits, open_database
from layer_runtime.adapters.postgres.document_queue import PostgresDocuments
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics
from layer_runtime.adapters.postgres.migrations import migrate
from layer_runtime.domain.pipelines import EMBEDDING, INDEXED, PENDING, Guard
from layer_testing.postgres import PostgresServer, postgres_server

WORKERS_COUNT: Final = 4
BATCH_COUNT: Final = 100
ROUNDS_COUNT: Final = 3
SLOW_SHARE: Final = 20
"""procrastinate gets this much less to do, or its rounds would take most of the time."""
ENQUEUE_BATCH: Final = 10_000
CLAIMING_WORKERS_COUNT: Final = 64
CLAIMS_PER_WORKER: Final = 20
THINKING_S: Final = 0.25
CONNECTIONS_MAX: Final = 16
PIPELINE: Final = 1
LIMITS: Final = Limits(
    connections_max=CONNECTIONS_MAX, statement_timeout_s=600, idle_in_transaction_ms=600_000
)
PARTS_COUNT: Final = 50
BYTES_PER_MIB: Final = 1024 * 1024
US: Final = "CPU µs"
BACKENDS: Final = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
TABLES: Final = (
    "SELECT pg_total_relation_size('layer.document_queue'), "
    "pg_total_relation_size('layer.document_settled')"
)


class Ours:
    """The statements that the service runs, without the call that asks for them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.queue = PostgresDocuments(database)
        self._enqueued_count = 0

    async def enqueue(self, count: int) -> None:
        first, self._enqueued_count = self._enqueued_count, self._enqueued_count + count
        ids = [f"document-{number:09}" for number in range(first, first + count)]
        for start in range(0, count, ENQUEUE_BATCH):
            part = ids[start : start + ENQUEUE_BATCH]
            await self.queue.create_missing(PIPELINE, part, PENDING)

    async def drain(self) -> None:
        await asyncio.gather(*(self._work(f"w{number}") for number in range(WORKERS_COUNT)))

    async def claim(self, worker: str, limit: int) -> list[str]:
        claimed = await self.queue.claim(
            PIPELINE,
            stage=PENDING,
            claim_stage=EMBEDDING,
            limit=limit,
            worker=worker,
            lease_s=60,
            prefix="",
        )
        return list(claimed.document_ids)

    async def cpu_us(self) -> float:
        """Return the CPU time that the connections of this database have taken, in microseconds."""
        rows = await self.database.fetch("backends", BACKENDS)
        return cpu_ns(tuple(row["pid"] for row in rows)) / 1000

    async def _work(self, worker: str) -> None:
        while taken := await self.claim(worker, BATCH_COUNT):
            for document in taken:
                await _handle(document)
            taken.sort()
            await self.queue.settle(PIPELINE, taken, INDEXED, "", Guard(worker=worker))


class Pgqueuer:
    """pgqueuer, as its documentation runs it: batches, heartbeats, a log of jobs."""

    def __init__(self, connections: list[Any]) -> None:
        self._connections = connections

    async def install(self) -> None:
        await PgQueuer(AsyncpgDriver(self._connections[0])).qm.queries.install()

    async def enqueue(self, count: int) -> None:
        queries = PgQueuer(AsyncpgDriver(self._connections[0])).qm.queries
        for start in range(0, count, ENQUEUE_BATCH):
            part = min(ENQUEUE_BATCH, count - start)
            await queries.enqueue(["handle"] * part, [b"document"] * part, [0] * part)

    async def drain(self) -> None:
        workers = []
        for connection in self._connections:
            worker = PgQueuer(AsyncpgDriver(connection))

            @worker.entrypoint("handle")
            async def handle(job: Any) -> None:
                await _handle(job)

            # The queue alone: the scheduler beside it would wait for its next minute.
            workers.append(worker.qm.run(batch_size=BATCH_COUNT, mode=QueueExecutionMode.drain))
        await asyncio.gather(*workers)


class Procrastinate:
    """procrastinate, with as many jobs at a time as a batch of the others has."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app
        self._task = app.task(name="handle", retry=8)(_handle)

    async def enqueue(self, count: int) -> None:
        for start in range(0, count, ENQUEUE_BATCH):
            part = min(ENQUEUE_BATCH, count - start)
            jobs: list[JSONDict] = [{"document": "d"}] * part
            await self._task.batch_defer_async(*jobs)

    async def drain(self) -> None:
        await self._app.run_worker_async(
            wait=False,
            concurrency=WORKERS_COUNT,
            install_signal_handlers=False,
            delete_jobs="successful",
        )


async def beside_others(server: PostgresServer, count: int) -> list[Figure]:
    """Measure claim, handler and completion in rounds, one after the other."""
    async with AsyncExitStack() as stack:
        ours = Ours(await _database(server, stack))
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
        rates: dict[str, list[float]] = {"enqueue": [], "ours": [], "pgqueuer": [], "slow": []}
        costs_us: dict[str, list[float]] = {"enqueue": [], "ours": []}
        for _ in range(ROUNDS_COUNT):
            begun_us = await ours.cpu_us()
            rates["enqueue"].append(await _rate(lambda: ours.enqueue(count), count))
            enqueued_us = await ours.cpu_us()
            rates["ours"].append(await _rate(ours.drain, count))
            costs_us["enqueue"].append((enqueued_us - begun_us) / count)
            costs_us["ours"].append((await ours.cpu_us() - enqueued_us) / count)
            await pgqueuer.enqueue(count)
            rates["pgqueuer"].append(await _rate(pgqueuer.drain, count))
            await slow.enqueue(count // SLOW_SHARE)
            rates["slow"].append(await _rate(slow.drain, count // SLOW_SHARE))
    median = {name: statistics.median(found) for name, found in rates.items()}
    return [
        Figure("enqueue", median["enqueue"], "ids/s", ">= 100,000"),
        Figure("the same, of the database", statistics.median(costs_us["enqueue"]), US, "<= 10"),
        Figure("claim and complete, batches of 100", median["ours"], "documents/s", ""),
        Figure("the same, of the database", statistics.median(costs_us["ours"]), US, ""),
        Figure("pgqueuer", median["pgqueuer"], "jobs/s", ""),
        Figure("procrastinate", median["slow"], "jobs/s", ""),
        Figure("ours / pgqueuer", _ratio(rates, "pgqueuer"), "x", ">= 2.5"),
        Figure("ours / procrastinate", _ratio(rates, "slow"), "x", ">= 50"),
    ]


async def when_long(server: PostgresServer, pending_count: int) -> list[Figure]:
    """Measure claims of many workers that think in between, from a long queue."""
    async with AsyncExitStack() as stack:
        ours = Ours(await _database(server, stack))
        await ours.enqueue(pending_count)
        await ours.database.fetch("analyze", "ANALYZE layer.document_queue")
        taken_s: list[float] = []

        async def work(worker: str, number: int) -> None:
            await asyncio.sleep(THINKING_S * number / CLAIMING_WORKERS_COUNT)
            for _ in range(CLAIMS_PER_WORKER):
                begun_s = time.perf_counter()
                await ours.claim(worker, 10)
                taken_s.append(time.perf_counter() - begun_s)
                await asyncio.sleep(THINKING_S)

        workers = (work(f"w{number}", number) for number in range(CLAIMING_WORKERS_COUNT))
        await asyncio.gather(*workers)
    quantiles = statistics.quantiles(taken_s, n=100)
    what = f"claim, {pending_count:,} pending, {CLAIMING_WORKERS_COUNT} workers"
    return [
        Figure(f"{what}, p50", quantiles[49] * 1000, "ms", ""),
        Figure(f"{what}, p99", quantiles[98] * 1000, "ms", "<= 20"),
    ]


async def after_much(server: PostgresServer, completed_count: int) -> list[Figure]:
    """Measure what the tables weigh after much has gone through a short queue."""
    part = max(completed_count // PARTS_COUNT, 1)
    sizes_bytes: list[int] = []
    taken_s: list[float] = []
    async with AsyncExitStack() as stack:
        ours = Ours(await _database(server, stack))
        for _ in range(PARTS_COUNT):
            await ours.enqueue(part)
            begun_s = time.perf_counter()
            await ours.drain()
            taken_s.append(time.perf_counter() - begun_s)
            queue_bytes, settled_bytes = (await ours.database.fetch("sizes", TABLES))[0]
            sizes_bytes.append(queue_bytes)
    half = PARTS_COUNT // 2
    grown = statistics.median(sizes_bytes[half:]) / statistics.median(sizes_bytes[:half])
    slower = statistics.median(taken_s[half:]) / statistics.median(taken_s[:half])
    what = f"after {completed_count:,} completed"
    return [
        Figure(f"{what}: queue, its indexes too", sizes_bytes[-1] / BYTES_PER_MIB, "MiB", ""),
        Figure(f"{what}: size, second half / first", grown, "x", "about 1"),
        Figure(f"{what}: time, second half / first", slower, "x", "about 1"),
        Figure(f"{what}: a settled document", settled_bytes / completed_count, "bytes", ""),
    ]


async def _handle(document: Any) -> None:
    """Do nothing: what is measured is the queue."""


async def _rate(work: Callable[[], Awaitable[None]], count: int) -> float:
    begun_s = time.perf_counter()
    await work()
    return count / (time.perf_counter() - begun_s)


def _ratio(rates: dict[str, list[float]], other: str) -> float:
    """Return the median of the rounds' own ratios, so that a slow minute counts for both."""
    return statistics.median(
        mine / theirs for mine, theirs in zip(rates["ours"], rates[other], strict=True)
    )


async def _database(server: PostgresServer, stack: AsyncExitStack) -> Database:
    metrics = DatabaseMetrics(CollectorRegistry())
    database = await stack.enter_async_context(
        open_database(server.new_database(), LIMITS, metrics=metrics, pool_name="bench")
    )
    await migrate(database)
    return database


async def _run(options: argparse.Namespace) -> list[Figure]:
    with postgres_server(autovacuum_naptime="10s") as server:
        return [
            *await beside_others(server, options.documents),
            *await when_long(server, options.pending),
            *await after_much(server, options.completed),
        ]


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000, help="a round")
    parser.add_argument("--pending", type=int, default=1_000_000, help="in the long queue")
    parser.add_argument("--completed", type=int, default=200_000, help="before tables are weighed")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    logging.disable(logging.WARNING)  # procrastinate tells of each job
    table = Table("queue", "measured", "", "goal")
    for figure in asyncio.run(_run(options)):
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, figure.goal)
    show(table)


if __name__ == "__main__":
    main()
