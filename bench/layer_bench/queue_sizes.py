"""The queue of documents when it is long, and what much that went through it leaves behind."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from layer_bench.load import cpu_ns
from layer_bench.queue_peers import PIPELINE, Documents, opened
from layer_testing.postgres import PostgresServer

CLAIMING_WORKERS_COUNT: Final = 64
CLAIMS_PER_WORKER_MAX: Final = 20
CLAIM_LIMIT: Final = 10
THINKING_S: Final = 0.25
TIMES: Final = 200
COUNTS_TIMES: Final = 20
DRAINED_COUNT: Final = 20_000
PART_COUNT: Final = 20_000
MIB: Final = 1024 * 1024
BACKEND: Final = "SELECT pg_backend_pid()"
BY_READING: Final = (
    "SELECT stage, count(*) FROM layer.document_queue WHERE pipeline = $1 GROUP BY stage"
)
TABLES: Final = """
SELECT c.relname AS name,
    pg_table_size(c.oid) AS table_bytes, pg_indexes_size(c.oid) AS index_bytes,
    s.n_dead_tup AS dead, s.autovacuum_count AS vacuums
FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE s.schemaname = 'layer' AND (c.relname LIKE 'document%' OR c.relname LIKE 'function_item%')
    AND s.n_tup_ins > 0
ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongQueue:
    """What a queue of a length costs."""

    pending_count: int
    enqueued_per_s: float
    enqueue_us: float
    """CPU of the database, for a document."""
    completed_per_s: float
    complete_us: float
    claim_p50_ms: float
    claim_p99_ms: float
    claim_cpu_p50_ms: float
    """Of the database, for one claim, whoever else wants a processor."""
    claim_cpu_p99_ms: float
    counts_ms: float
    reading_ms: float
    """For counting by reading the queue, which no status does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A table after documents have gone through the queue."""

    completed_count: int
    name: str
    table_bytes: int
    index_bytes: int
    dead_count: int
    vacuum_count: int
    documents_per_s: float
    """Enqueued, claimed and completed since the weighing before."""


async def long_queue(server: PostgresServer, pending_count: int) -> LongQueue:
    """Fill a queue, claim from it, count it, and take some documents off."""
    url = server.new_database()
    async with AsyncExitStack() as stack:
        ours = Documents(await opened(url, stack))
        enqueued_s, enqueue_us = await _cost(ours, lambda: ours.enqueue(pending_count))
        await ours.database.fetch("analyze", "ANALYZE layer.document_queue")
        claims = pending_count // 2 // CLAIMING_WORKERS_COUNT // CLAIM_LIMIT
        clock = _percentiles(await _claims_of_many(ours, min(claims, CLAIMS_PER_WORKER_MAX)))
        alone = Documents(await opened(url, stack, connections_max=1))
        cpu = _percentiles([await _claim_cpu_s(alone) for _ in range(TIMES)])
        counts_s = await _median_s(lambda: ours.queue.figures([PIPELINE]))
        reading_s = await _median_s(lambda: ours.database.fetch("by_reading", BY_READING, PIPELINE))
        drained_count = min(DRAINED_COUNT, pending_count // 4)
        drained_s, drain_us = await _cost(ours, lambda: ours.drain(drained_count))
    return LongQueue(
        pending_count=pending_count,
        enqueued_per_s=pending_count / enqueued_s,
        enqueue_us=enqueue_us / pending_count,
        completed_per_s=drained_count / drained_s,
        complete_us=drain_us / drained_count,
        claim_p50_ms=clock[49] * 1000,
        claim_p99_ms=clock[98] * 1000,
        claim_cpu_p50_ms=cpu[49] * 1000,
        claim_cpu_p99_ms=cpu[98] * 1000,
        counts_ms=counts_s * 1000,
        reading_ms=reading_s * 1000,
    )


async def weights(
    server: PostgresServer, completed_count: int, steps_count: int
) -> AsyncIterator[list[Weight]]:
    """Let documents go through a short queue; weigh the tables a few times on the way."""
    async with AsyncExitStack() as stack:
        ours = Documents(await opened(server.new_database(), stack))
        done_count = 0
        for step in range(1, steps_count + 1):
            begun_s, before_count = time.perf_counter(), done_count
            while done_count < completed_count * step // steps_count:
                await ours.enqueue(PART_COUNT)
                await ours.drain()
                done_count += PART_COUNT
                await ours.queue.fold([PIPELINE])  # as the service does every few seconds
            per_s = (done_count - before_count) / (time.perf_counter() - begun_s)
            yield [
                Weight(
                    completed_count=done_count,
                    name=row["name"],
                    table_bytes=row["table_bytes"],
                    index_bytes=row["index_bytes"],
                    dead_count=row["dead"],
                    vacuum_count=row["vacuums"],
                    documents_per_s=per_s,
                )
                for row in await ours.database.fetch("tables", TABLES)
            ]


async def _claims_of_many(ours: Documents, claims_per_worker: int) -> list[float]:
    """Let many workers claim that think in between; return how long each claim took."""
    taken_s: list[float] = []

    async def work(number: int) -> None:
        await asyncio.sleep(THINKING_S * number / CLAIMING_WORKERS_COUNT)
        for _ in range(claims_per_worker):
            begun_s = time.perf_counter()
            await ours.claim(f"w{number}", CLAIM_LIMIT)
            taken_s.append(time.perf_counter() - begun_s)
            await asyncio.sleep(THINKING_S)

    await asyncio.gather(*(work(number) for number in range(CLAIMING_WORKERS_COUNT)))
    return taken_s


async def _claim_cpu_s(alone: Documents) -> float:
    pid = await alone.database.fetchval("backend", BACKEND)
    begun_ns = cpu_ns((pid,))
    await alone.claim("alone", CLAIM_LIMIT)
    return (cpu_ns((pid,)) - begun_ns) / 1e9


async def _cost(ours: Documents, work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Return the seconds that work takes, and the CPU microseconds of the database."""
    begun_us, begun_s = await ours.cpu_us(), time.perf_counter()
    await work()
    return time.perf_counter() - begun_s, await ours.cpu_us() - begun_us


async def _median_s(call: Callable[[], Awaitable[object]]) -> float:
    taken_s = []
    for _ in range(COUNTS_TIMES):
        begun_s = time.perf_counter()
        await call()
        taken_s.append(time.perf_counter() - begun_s)
    return statistics.median(taken_s)


def _percentiles(values: Sequence[float]) -> list[float]:
    return statistics.quantiles(values, n=100)
