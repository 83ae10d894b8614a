"""Batches that are pushed to workers."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from layer_testing.edge_calls import eventually
from layer_testing.function_system import FunctionSystem

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def layer(system: FunctionSystem) -> FunctionSystem:
    return system


async def test_batches_are_pushed_to_workers_that_say_where_they_are(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    asked: list[Any] = []

    async def run(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append(body)
        results = [
            {"namespace": item["namespace"], "id": item["id"], "attributes": {"pushed": True}}
            for item in body["items"]
            if item["id"] != "t-2"
        ]
        error = {"kind": "permanent", "message": "no good"}
        refused = {"namespace": tools, "id": "t-2", "error": error}
        return web.json_response({"results": [*results, refused]})

    app = web.Application()
    app.router.add_post("/run", run)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        worker = {"url": f"http://{host}:{port}", "batch_size": 2}
        await layer.put(tag, target_namespaces=[tools], inputs=["kind"], worker=worker)
        await layer.discover(tag)

        async def is_done() -> bool:
            return bool((await layer.status(tag))["counts"] == {"failed": 1})

        assert await eventually(is_done)
    finally:
        await runner.cleanup()
    assert {len(body["items"]) for body in asked} == {1, 2}
    assert asked[0]["udf_id"] == tag
    assert {item["id"] for body in asked for item in body["items"]} == {"t-1", "t-2", "t-3"}
    assert (await layer.row(tools, "t-3"))["pushed"] is True


async def test_a_worker_that_is_away_costs_attempts(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    worker = {"url": "http://127.0.0.1:9", "timeout_seconds": 1}
    retry = {"max_attempts": 1}
    await layer.put(tag, target_namespaces=[tools], worker=worker, retry=retry)
    await layer.discover(tag)

    async def is_given_up() -> bool:
        return bool((await layer.status(tag))["failed_count"] == 3)

    assert await eventually(is_given_up)
    failed = (await layer.call("GET", f"/v2/udfs/{tag}/items/failed?limit=2"))["items"]
    assert len(failed) == 2
    assert failed[0]["message"].startswith("The worker failed: ")
