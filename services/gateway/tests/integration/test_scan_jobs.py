"""Scan jobs over several gateways: whichever of them ends, the job comes to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from layer_objects import open_object_store
from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.s3 import REGION, s3_server
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = "/v2/namespaces/slow"
IDS = [f"r-{n}" for n in range(4)]


@dataclass
class SlowStore:
    """Returns a row a page; those after the first wait until the test lets them go."""

    script: ScriptedStore
    released: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    dropped_count: int = 0

    def serve(self) -> None:
        self.released.clear()
        self.held.clear()
        self.dropped_count = 0
        self.script.namespace("slow")
        self.script.answers[f"POST {TARGET}/query"] = self.answer

    async def answer(self, exchange: Exchange) -> None:
        filters = exchange.request.json.get("filters")
        if filters == ["id", "Eq", "_hevlayer:namespace_meta"]:
            await exchange.say(answer({"rows": []}))
            return
        at = 0 if filters is None else IDS.index(filters[2]) + 1
        if at:
            self.held.set()
            released = asyncio.create_task(self.released.wait())
            closed = asyncio.create_task(exchange.wait_closed())
            await asyncio.wait({released, closed}, return_when=asyncio.FIRST_COMPLETED)
            self.dropped_count += closed.done()
            closed.cancel()
            released.cancel()
        await exchange.say(answer({"rows": [{"id": id_} for id_ in IDS[at : at + 2]]}))


@asynccontextmanager
async def gateway(
    store: SlowStore, home: Path, **settings: str
) -> AsyncIterator[tuple[EdgeCaller, ServiceProcess]]:
    defaults = {
        "LAYER_GATEWAY_OBJECTS_DIRECTORY": str(home),
        "LAYER_GATEWAY_SCAN_LEASE_S": "2",
    }
    async with gateway_over(store.script.url, **(defaults | settings)) as process:
        yield EdgeCaller(process.addresses["http"], key=KEY), process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest_asyncio.fixture(loop_scope="module")
async def slow(store: ScriptedStore) -> SlowStore:
    served = SlowStore(store)
    served.serve()
    return served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def other(store: ScriptedStore, home: Path) -> AsyncIterator[EdgeCaller]:
    """A gateway that goes on."""
    async with gateway(SlowStore(store), home) as (edge, _):
        yield edge


async def begun(edge: EdgeCaller, slow: SlowStore) -> str:
    """Start a scan and wait until its second page is under way; return its id."""
    received = await edge("POST", f"{TARGET}/scans", {"source": "origin", "page_size": 1})
    assert received.status == 202, received.body
    async with asyncio.timeout(20):
        await slow.held.wait()
    slow.held.clear()
    return str(received.json["id"])


async def shown(edge: EdgeCaller, scan_id: str) -> dict[str, Any]:
    received = await edge("GET", f"{TARGET}/scans/{scan_id}")
    assert received.status == 200, received.body
    return dict(received.json)


async def completed(edge: EdgeCaller, scan_id: str) -> dict[str, Any]:
    async def found() -> dict[str, Any]:
        job = await shown(edge, scan_id)
        assert job["status"] != "failed", job
        return job if job["status"] == "completed" else {}

    return await eventually(found)


async def results(edge: EdgeCaller, scan_id: str) -> Any:
    return (await edge("GET", f"{TARGET}/scans/{scan_id}/results")).json


async def test_a_job_whose_gateway_is_killed_is_taken_up_by_the_next_one_that_is_asked(
    slow: SlowStore, home: Path, other: EdgeCaller
) -> None:
    async with gateway(slow, home) as (edge, process):
        scan_id = await begun(edge, slow)
        assert (await shown(other, scan_id))["status"] == "running"
        await process.kill()

    async def is_begun_anew() -> bool:
        assert (await shown(other, scan_id))["status"] == "running"
        return slow.held.is_set()

    await eventually(is_begun_anew)
    slow.released.set()

    job = await completed(other, scan_id)
    assert job["documents_scanned"] == len(IDS)
    assert await results(other, scan_id) == {"ids": IDS, "total": len(IDS)}


async def test_a_gateway_that_is_stopped_leaves_its_jobs_at_once(
    slow: SlowStore, home: Path, other: EdgeCaller
) -> None:
    async with gateway(slow, home, LAYER_GATEWAY_SCAN_LEASE_S="3600") as (edge, process):
        scan_id = await begun(edge, slow)
        assert await process.terminate() == 0
    slow.released.set()

    assert (await completed(other, scan_id))["documents_scanned"] == len(IDS)


async def test_a_job_is_stopped_from_any_gateway(
    slow: SlowStore, home: Path, other: EdgeCaller
) -> None:
    async with gateway(slow, home) as (edge, _):
        scan_id = await begun(edge, slow)
        assert (await other("DELETE", f"{TARGET}/scans/{scan_id}")).status == 200

        async def is_stopped() -> bool:
            return slow.dropped_count == 1

        await eventually(is_stopped)
        for gateway_ in (edge, other):
            assert (await gateway_("GET", f"{TARGET}/scans/{scan_id}")).status == 404
    slow.released.set()
    assert await files_of(home, scan_id) == []


async def files_of(home: Path, scan_id: str) -> list[str]:
    """Return what is left of a scan."""
    objects = open_object_store(home.as_uri())
    try:
        return [key async for key in objects.iter_keys() if scan_id in key]
    finally:
        await objects.aclose()


async def test_without_an_object_store_jobs_are_the_gateways_own(
    slow: SlowStore, home: Path
) -> None:
    async with gateway(slow, home, LAYER_GATEWAY_OBJECTS_DIRECTORY="") as (edge, _):
        scan_id = await begun(edge, slow)
        slow.released.set()

        assert (await completed(edge, scan_id))["progress"] == 1.0
        assert (await results(edge, scan_id))["ids"] == IDS
        assert (await edge("DELETE", f"{TARGET}/scans/{scan_id}")).status == 200
        assert (await edge("GET", f"{TARGET}/scans")).json == {"scans": []}


async def test_jobs_are_kept_in_s3_and_counts_do_without_it(slow: SlowStore, home: Path) -> None:
    slow.released.set()
    asked = {"source": "origin", "page_size": 1}
    async with AsyncExitStack() as stack:
        with s3_server() as server:
            edge, _ = await stack.enter_async_context(
                gateway(
                    slow,
                    home,
                    LAYER_GATEWAY_OBJECTS_DIRECTORY="",
                    S3_BUCKET=server.new_bucket(),
                    S3_REGION=REGION,
                    S3_ENDPOINT=server.endpoint,
                    AWS_ACCESS_KEY_ID=server.access_key_id or "",
                    AWS_SECRET_ACCESS_KEY=server.secret_access_key or "",
                )
            )
            started = await edge("POST", f"{TARGET}/scans", asked)
            await completed(edge, started.json["id"])
            assert (await results(edge, started.json["id"]))["ids"] == IDS
            assert (await edge("DELETE", f"{TARGET}/scans/{started.json['id']}")).status == 200

        down = await edge("POST", f"{TARGET}/scans", asked)
        count = await edge("POST", f"{TARGET}/scans", asked | {"mode": "count"})

    assert (down.status, down.json["error"]) == (502, "upstream_error")
    assert (count.status, count.json["count"]) == (200, len(IDS))
