"""The queues that are compared: ours of documents, ours of items, pgqueuer, procrastinate.

All have the same PostgreSQL, one process with four workers, a handler that does nothing, retries,
and a hold on what is being worked on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

import procrastinate
from pgqueuer import PgQueuer
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.domain.types import QueueExecutionMode
from procrastinate.types import JSONDict
from prometheus_client import CollectorRegistry

from layer_bench.load import cpu_ns
from layer_runtime.adapters.postgres.database import Database, Limits, open_database
from layer_runtime.adapters.postgres.document_queue import PostgresDocuments
from layer_runtime.adapters.postgres.function_store import PostgresFunctions
from layer_runtime.adapters.postgres.item_queue import PostgresItems
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics
from layer_runtime.adapters.postgres.migrations import migrate
from layer_runtime.application.completing import LEASE_S_MIN
from layer_runtime.domain.functions import FunctionId, FunctionSpec
from layer_runtime.domain.items import Given, Reference
from layer_runtime.domain.pipelines import EMBEDDING, INDEXED, PENDING, Guard

WORKERS_COUNT: Final = 4
BATCH_COUNT: Final = 100
ENQUEUE_BATCH: Final = 10_000
LEASE_S: Final = 900
PIPELINE: Final = 1
NAMESPACE: Final = "rows"
CONNECTIONS_MAX: Final = 16
BACKENDS: Final = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"


class Documents:
    """The statements that the service runs, without the call that asks for them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.queue = PostgresDocuments(database)
        self._enqueued_count = 0

    async def enqueue(self, count: int) -> None:
        """Let as many callers as there are workers create documents, in calls of 10,000."""
        first, self._enqueued_count = self._enqueued_count, self._enqueued_count + count
        ids = [f"document-{number:09}" for number in range(first, first + count)]
        await _by_workers(self._create(part) for part in _parts(ids))

    async def drain(self, count: int | None = None) -> None:
        """Claim and complete until nothing waits, or ``count`` documents are done."""
        batches = count // BATCH_COUNT // WORKERS_COUNT if count is not None else None
        await asyncio.gather(*(self._work(f"w{at}", batches) for at in range(WORKERS_COUNT)))

    async def claim(self, worker: str, limit: int) -> list[str]:
        claimed = await self.queue.claim(
            PIPELINE,
            stage=PENDING,
            claim_stage=EMBEDDING,
            limit=limit,
            worker=worker,
            lease_s=LEASE_S,
            prefix="",
        )
        return list(claimed.document_ids)

    async def cpu_us(self) -> float:
        return await database_cpu_us(self.database)

    async def _create(self, ids: list[str]) -> None:
        await self.queue.create_missing(PIPELINE, ids, PENDING)

    async def _work(self, worker: str, batches: int | None) -> None:
        done = 0
        while done != batches and (taken := await self.claim(worker, BATCH_COUNT)):
            done += 1
            for document in taken:
                await handle(document)
            taken.sort()
            await self.queue.settle(PIPELINE, taken, INDEXED, "", Guard(worker=worker))


class Items:
    """The queue of a function: a claim also keeps what was given out, a completion looks at it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.queue = PostgresItems(database)
        self._number = 0
        self._enqueued_count = 0

    async def install(self) -> None:
        spec = FunctionSpec(target_namespaces=(NAMESPACE,), inputs=("n",))
        functions = PostgresFunctions(self.database)
        self._number = (await functions.create(FunctionId("tag"), spec, is_paused=False)).number

    async def enqueue(self, count: int) -> None:
        """Enqueue as sweeps do, a page of 10,000 rows after the other, four at a time."""
        first, self._enqueued_count = self._enqueued_count, self._enqueued_count + count
        ids = [f"row-{number:09}" for number in range(first, first + count)]
        await _by_workers(self._create(part) for part in _parts(ids))

    async def drain(self) -> None:
        await asyncio.gather(*(self._work(f"w{number}") for number in range(WORKERS_COUNT)))

    async def cpu_us(self) -> float:
        return await database_cpu_us(self.database)

    async def _create(self, ids: list[str]) -> None:
        await self.queue.enqueue(self._number, NAMESPACE, ids)

    async def _work(self, worker: str) -> None:
        number = self._number
        while taken := await self.queue.claim(
            number, worker, limit=BATCH_COUNT, lease_s=LEASE_S, attempt_count_max=8
        ):
            given = [Given(item.key, 1, b"digest") for item in taken]
            await self.queue.remember(number, taken[0].lease, "v1", given)
            for item in taken:
                await handle(item)
            references = [Reference(item.key, item.lease) for item in taken]
            held = await self.queue.held(number, worker, references, lease_s_min=LEASE_S_MIN)
            await self.queue.finish(number, held)


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
            async def work(job: Any) -> None:
                await handle(job)

            # The queue alone: the scheduler beside it would wait for its next minute.
            workers.append(worker.qm.run(batch_size=BATCH_COUNT, mode=QueueExecutionMode.drain))
        await asyncio.gather(*workers)


class Procrastinate:
    """procrastinate, with as many jobs at a time as a batch of the others has."""

    def __init__(self, app: procrastinate.App) -> None:
        self._app = app
        self._task = app.task(name="handle", retry=8)(handle)

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


async def handle(document: Any) -> None:
    """Do nothing: what is measured is the queue."""


async def opened(
    url: str, stack: AsyncExitStack, *, connections_max: int = CONNECTIONS_MAX
) -> Database:
    """Open a database, with the schema in it, for as long as the stack is."""
    limits = Limits(
        connections_max=connections_max, statement_timeout_s=600, idle_in_transaction_ms=600_000
    )
    metrics = DatabaseMetrics(CollectorRegistry())
    database = await stack.enter_async_context(
        open_database(url, limits, metrics=metrics, pool_name="bench")
    )
    await migrate(database)
    return database


async def database_cpu_us(database: Database) -> float:
    """Return the CPU time that the connections of a database have taken, in microseconds."""
    rows = await database.fetch("backends", BACKENDS)
    return cpu_ns(tuple(row["pid"] for row in rows)) / 1000


async def _by_workers(calls: Iterator[Any]) -> None:
    """Await calls, as many at a time as there are workers."""

    async def work() -> None:
        for call in calls:
            await call

    await asyncio.gather(*(work() for _ in range(WORKERS_COUNT)))


def _parts(ids: list[str]) -> Iterator[list[str]]:
    return (ids[at : at + ENQUEUE_BATCH] for at in range(0, len(ids), ENQUEUE_BATCH))
