"""Pipelines and functions under load while their PostgreSQL crashes, and while it takes no writes.

Nothing that was acknowledged is lost or handed out again, whoever asks is told to ask again, and
all of it goes on by itself.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from layer_testing.edge_calls import EdgeAnswer, eventually
from layer_testing.function_system import FunctionSystem, function_system
from layer_testing.postgres import PostgresServer, postgres_server

NAME, FUNCTION, PIPELINE = "rows", "tag", "books"
COUNT = 60
BATCH = 5
LEASE_S = 3
CLAIM = {"limit": BATCH, "lease_seconds": LEASE_S}
WORKERS_COUNT = 2
IDLE_S = 0.05
DONE_S_MAX = 60.0
LOCKED = "layer.document_queue_counts, layer.function_item_counts"
"""What is written to in the middle of every claim and every completion."""
IN_THE_MIDDLE = """
SELECT count(*) FILTER (WHERE query LIKE '%document_queue%'),
    count(*) FILTER (WHERE query LIKE '%function_items%')
FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND application_name = 'layer-runtime-data'
"""
POOLED = "SELECT pid FROM pg_stat_activity WHERE application_name = 'layer-runtime-data'"
LOOP_FAILURES = re.compile(r"^layer_loop_failures_total\{.*\} ([0-9.]+)$", re.MULTILINE)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Run a server that loses nothing when its processes are killed."""
    with postgres_server(synchronous_commit="on") as server:
        yield server


class Work:
    """Workers of both kinds, and what they were told."""

    def __init__(self, layer: FunctionSystem) -> None:
        self._layer = layer
        self.done: dict[str, set[str]] = {"items": set(), "documents": set()}
        """Whose completion was acknowledged."""
        self.refusal_count = 0
        self.is_over = False

    async def on_items(self, worker: str) -> None:
        while not self.is_over:
            path = f"/v2/udfs/{FUNCTION}"
            claimed = await self._asked(f"{path}/claim", {"worker_id": worker, **CLAIM})
            items = [] if claimed is None else claimed.json["items"]
            self._check_new("items", [item["id"] for item in items])
            results = [
                {"namespace": NAME, "id": item["id"], "attributes": {"out": f"of {item['id']}"}}
                for item in items
            ]
            if not results:
                await asyncio.sleep(IDLE_S)
            else:
                body = {"worker_id": worker, "items": results}
                answer = await self._asked(f"{path}/items/complete", body)
                if answer is not None and answer.json["updated"] == len(results):
                    self.done["items"].update(item["id"] for item in items)

    async def on_documents(self, worker: str) -> None:
        while not self.is_over:
            path = f"/v2/pipelines/{PIPELINE}"
            claimed = await self._asked(f"{path}/claim", {"worker_id": worker, **CLAIM})
            ids = [] if claimed is None else claimed.json["documents"]
            self._check_new("documents", ids)
            if not ids:
                await asyncio.sleep(IDLE_S)
            else:
                body = {"document_ids": ids, "stage": "indexed", "worker_id": worker}
                answer = await self._asked(f"{path}/documents/stage", body)
                if answer is not None and answer.json["updated"] == len(ids):
                    self.done["documents"].update(ids)

    def _check_new(self, kind: str, ids: list[str]) -> None:
        assert self.done[kind].isdisjoint(ids), "it was done, and is handed out again"

    async def _asked(self, path: str, body: object) -> EdgeAnswer | None:
        """Call; None where the answer is to ask again."""
        answer = await self._layer.edge("POST", path, body)
        if answer.status == HTTPStatus.OK:
            return answer
        assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE, answer.body
        self.refusal_count += 1
        return None


@asynccontextmanager
async def working(layer: FunctionSystem) -> AsyncIterator[Work]:
    """Let workers of both kinds work for the length of the block."""
    work = Work(layer)
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS_COUNT):
            group.create_task(work.on_items(f"w{number}"))
            group.create_task(work.on_documents(f"w{number}"))
        yield work
        work.is_over = True


async def begun(layer: FunctionSystem) -> None:
    """Have as many rows and documents that wait."""
    rows = [{"id": f"r{number:03}", "n": number} for number in range(COUNT)]
    await layer.write(NAME, upsert_rows=rows)
    await layer.put(FUNCTION, target_namespaces=[NAME], inputs=["n"])
    assert (await layer.discover(FUNCTION))["enqueued"] == COUNT
    await layer.call("POST", "/v2/pipelines", {"id": PIPELINE, "target_namespace": "books-rows"})
    ids = [f"d{number:03}" for number in range(COUNT)]
    body = {"document_ids": ids, "stage": "pending", "create_missing": True}
    await layer.call("POST", f"/v2/pipelines/{PIPELINE}/documents/stage", body)


async def all_is_done(layer: FunctionSystem) -> bool:
    try:
        items = await layer.status(FUNCTION)
        documents = await layer.call("GET", f"/v2/pipelines/{PIPELINE}/status")
    except AssertionError:  # not yet
        return False
    return not items["counts"] and documents["counts"] == {"indexed": COUNT}


async def loop_failures(layer: FunctionSystem) -> float:
    async with httpx.AsyncClient(trust_env=False) as client:
        shown = await client.get(f"http://{layer.runtimes[0].addresses['ops']}/metrics")
    return sum(float(count) for count in LOOP_FAILURES.findall(shown.text))


@asynccontextmanager
async def connected(layer: FunctionSystem) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection of the test's own."""
    connection = await asyncpg.connect(layer.database_url)
    try:
        yield connection
    finally:
        connection.terminate()


async def crash(server: PostgresServer, layer: FunctionSystem, work: Work) -> None:
    """Kill the server while claims and completions of both kinds are half done."""
    async with connected(layer) as locking, connected(layer) as watching:
        await locking.execute(f"BEGIN; LOCK TABLE {LOCKED} IN EXCLUSIVE MODE")

        async def both_are_in_the_middle() -> bool:
            (waiting,) = await watching.fetch(IN_THE_MIDDLE)
            return all(waiting)

        assert await eventually(both_are_in_the_middle)
        failures, refusals = await loop_failures(layer), work.refusal_count
        await asyncio.to_thread(server.cluster.stop, signal.SIGQUIT)

    async def all_say_so() -> bool:
        return work.refusal_count > refusals and await loop_failures(layer) > failures

    try:
        assert await eventually(all_say_so)
    finally:
        server.start()


async def take_no_writes(layer: FunctionSystem, work: Work) -> None:
    """Be for a while as a server is that has become a standby."""
    async with connected(layer) as connection:
        await connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await connection.execute("SELECT pg_reload_conf()")
        refusals = work.refusal_count

        async def workers_are_told() -> bool:
            return work.refusal_count > refusals

        assert await eventually(workers_are_told)
        before = {row["pid"] for row in await connection.fetch(POOLED)}
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await connection.execute("SELECT pg_reload_conf()")

        async def connections_are_made_anew() -> bool:
            return bool({row["pid"] for row in await connection.fetch(POOLED)} - before)

        assert await eventually(connections_are_made_anew)


async def test_a_database_that_fails_under_load_loses_nothing_and_repeats_nothing(
    server: PostgresServer, tmp_path: Path
) -> None:
    environment: dict[str, Any] = {
        "LAYER_RUNTIME_OBJECTS_DIRECTORY": str(tmp_path / "objects"),
        "LAYER_RUNTIME_DATA_CONNECTIONS_MAX": str(2 * WORKERS_COUNT),
        "PIPELINE_STATUS_CACHE_TTL_MS": "0",
    }
    async with function_system(tmp_path, server.new_database(), **environment) as layer:
        await begun(layer)
        async with working(layer) as work, asyncio.timeout(DONE_S_MAX):
            await crash(server, layer, work)
            await take_no_writes(layer, work)
            while not await all_is_done(layer):  # noqa: ASYNC110 -- processes signal nothing
                await asyncio.sleep(IDLE_S)
        for number in range(COUNT):
            row = await layer.row(NAME, f"r{number:03}")
            assert row["out"] == f"of r{number:03}"
