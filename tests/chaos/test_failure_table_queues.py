"""The failure table, of pipelines and functions: what fails, and what their callers see of it.

The database is stopped, and the object store is not there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.postgres import PostgresServer, postgres_server
from layer_testing.processes import ServiceProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = "/v2/namespaces/rows"
CLAIM = {"worker_id": "w"}
CALLS = {
    "claim": ("POST", "/v2/pipelines/p/claim", CLAIM),
    "status": ("GET", "/v2/pipelines", b""),
    "functions": ("GET", "/v2/udfs", b""),
    "items": ("POST", "/v2/udfs/f/claim", CLAIM),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A gateway and a runtime, whose object store is not there."""

    edge: EdgeCaller
    runtime: ServiceProcess
    database: PostgresServer

    async def ask(self, name: str) -> EdgeAnswer:
        return await self.edge(*CALLS[name])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    folder = tmp_path_factory.mktemp("q")
    address = f"unix:{folder / 'g.sock'}"
    async with AsyncExitStack() as stack:
        database = stack.enter_context(postgres_server())
        runtime = await stack.enter_async_context(
            running(
                "layer_runtime",
                LAYER_RUNTIME_GRPC_ADDRESS="127.0.0.1:0",
                LAYER_RUNTIME_GATEWAY_ADDRESS=address,
                LAYER_RUNTIME_GATEWAY_API_KEY=KEY,
                DATABASE_URL=database.new_database(),
                S3_BUCKET="any",
                S3_ENDPOINT="http://127.0.0.1:9",
                AWS_ACCESS_KEY_ID="test",
                AWS_SECRET_ACCESS_KEY="test",
            )
        )
        store_url = await stack.enter_async_context(embedded_store(folder / "store"))
        gateway = await stack.enter_async_context(
            gateway_over(
                store_url,
                LAYER_GATEWAY_GRPC_ADDRESS=address,
                LAYER_GATEWAY_RUNTIME_ADDRESS=runtime.addresses["grpc"],
            )
        )
        edge = EdgeCaller(gateway.addresses["http"], key=KEY)
        pipeline = {"id": "p", "target_namespace": "rows"}

        async def is_there() -> bool:
            return (await edge("POST", "/v2/pipelines", pipeline)).status in (200, 201, 409)

        assert await eventually(is_there)
        function = {"spec": {"worker": {}, "target_namespaces": ["rows"]}}
        assert (await edge("PUT", "/v2/udfs/f", function)).status == 200
        yield Plane(edge=edge, runtime=runtime, database=database)


async def test_s3_down_a_document_is_not_staged(plane: Plane) -> None:
    """The object store comes first, so that nothing is in the queue without its chunks."""
    body = {"chunks": [{"id": "c", "text": "text"}]}
    refused = await plane.edge("PUT", "/v2/pipelines/p/documents/d", body)
    assert (refused.status, refused.json["error"]) == (502, "upstream_error"), refused.body
    assert (await plane.ask("claim")).json["documents"] == []


async def test_pg_down_queues_are_503_and_nothing_else_is(plane: Plane) -> None:
    assert {(await plane.ask(name)).status for name in CALLS} == {200}
    plane.database.cluster.stop()
    try:
        for name in CALLS:
            refused = await plane.ask(name)
            assert (refused.status, refused.json["error"]) == (503, "service_unavailable"), name
        body = {"upsert_rows": [{"id": "a", "vector": [1.0]}], "distance_metric": "cosine_distance"}
        assert (await plane.edge("POST", ROWS, body)).status == 200
        assert (await plane.edge("GET", f"{ROWS}/documents/a")).status == 200
        query = {"vector": [1.0], "top_k": 1}
        assert (await plane.edge("POST", f"{ROWS}/query", query)).status == 200
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = await client.get(f"http://{plane.runtime.addresses['ops']}/metrics")
        assert (metrics.status_code, "layer_" in metrics.text) == (200, True)
    finally:
        plane.database.start()

    async def is_back() -> bool:
        return {(await plane.ask(name)).status for name in CALLS} == {200}

    assert await eventually(is_back)
