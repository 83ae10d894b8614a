"""Several workers behind one port are one gateway to whoever calls it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKERS = 2
PASSED = "/v1/anything"
KNOWN = "x-layer-stable-as-of"
REQUESTS = 60


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an address that only one process at a time can listen on."""
    return f"unix:{tmp_path_factory.mktemp('w') / 'g.sock'}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(store: ScriptedStore, beside: str) -> AsyncIterator[ServiceProcess]:
    async with gateway_over(
        store.url, LAYER_GATEWAY_WORKERS=str(WORKERS), LAYER_GATEWAY_BESIDE_ADDRESS=beside
    ) as process:
        yield process


@pytest.fixture
def caller(pool: ServiceProcess) -> EdgeCaller:
    return EdgeCaller(pool.addresses["http"], key=KEY)


def workers_of(pool: ServiceProcess) -> list[int]:
    listed = Path(f"/proc/{pool.pid}/task/{pool.pid}/children").read_text().split()
    return [int(pid) for pid in listed]


async def metric(address: str, name: str, path: str = "/metrics", **labels: str) -> float:
    exposition = await EdgeCaller(address, key=KEY)("GET", path)
    return sum(
        sample.value
        for family in text_string_to_metric_families(exposition.body.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_one_worker_of_several_is_reached_at_the_further_address(
    pool: ServiceProcess, beside: str
) -> None:
    assert len(workers_of(pool)) == WORKERS
    async with grpc.aio.insecure_channel(beside) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        found = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert found.status == health_pb2.HealthCheckResponse.SERVING


async def test_every_worker_shows_the_metrics_of_all(
    pool: ServiceProcess, caller: EdgeCaller, store: ScriptedStore
) -> None:
    store.answers[f"GET {PASSED}"] = answer({})
    count = "layer_http_request_seconds_count"
    before = await metric(pool.addresses["http"], count, operation="pass")
    answers = await asyncio.gather(*(caller("GET", PASSED) for _ in range(REQUESTS)))
    assert {received.status for received in answers} == {200}

    for address in (pool.addresses["http"], pool.addresses["ops"]):
        assert await metric(address, count, operation="pass") == before + REQUESTS
    assert len(workers_of(pool)) == WORKERS


async def test_a_killed_worker_comes_back_and_nobody_else_notices(
    pool: ServiceProcess, caller: EdgeCaller, store: ScriptedStore
) -> None:
    store.answers[f"GET {PASSED}"] = answer({})
    killed, spared = workers_of(pool)
    os.kill(killed, signal.SIGKILL)

    async def is_back() -> bool:
        return len(workers_of(pool)) == WORKERS and killed not in workers_of(pool)

    assert await eventually(is_back)

    async def is_ready() -> bool:
        return (await EdgeCaller(pool.addresses["ops"], key=KEY)("GET", "/readyz")).status == 200

    assert await eventually(is_ready)
    answers = await asyncio.gather(*(caller("GET", PASSED) for _ in range(REQUESTS)))
    assert {received.status for received in answers} == {200}
    assert spared in workers_of(pool)
    assert await metric(pool.addresses["ops"], "layer_worker_restarts_total") == 1


async def test_a_pool_that_is_told_to_stop_finishes_what_runs_and_leaves_nobody(
    store: ScriptedStore,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        begun.set()
        await go_on.wait()
        await exchange.say(answer({"late": True}))

    store.answers["GET /v1/slow"] = slow
    async with gateway_over(store.url, LAYER_GATEWAY_WORKERS=str(WORKERS)) as process:
        workers = workers_of(process)
        running = asyncio.create_task(
            EdgeCaller(process.addresses["http"], key=KEY)("GET", "/v1/slow")
        )
        await begun.wait()
        process.process.send_signal(signal.SIGTERM)
        go_on.set()
        assert (await running).json == {"late": True}
        assert await process.wait() == 0
    assert not any(_runs(pid) for pid in workers)


async def test_workers_end_with_a_parent_that_was_killed(store: ScriptedStore) -> None:
    async with gateway_over(store.url, LAYER_GATEWAY_WORKERS=str(WORKERS)) as process:
        workers = workers_of(process)
        os.kill(process.pid, signal.SIGKILL)

        async def are_gone() -> bool:
            return not any(_runs(pid) for pid in workers)

        assert await eventually(are_gone)


async def test_no_worker_takes_the_watermark_past_a_write_through_another(
    store: ScriptedStore,
) -> None:
    name, write, metadata = "held", "POST /v2/namespaces/held", "GET /v2/namespaces/held/metadata"
    store.namespace(name, rows=({"id": "a", "$dist": 0.5},), vector="[2]f32")
    store.answers[metadata] = answer({"index": {"status": "up-to-date"}})
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        begun.set()
        await go_on.wait()
        await exchange.say(answer({"status": "OK", "rows_affected": 1}))

    store.answers[write] = slow
    async with gateway_over(
        store.url,
        LAYER_GATEWAY_WORKERS=str(WORKERS),
        LAYER_GATEWAY_CONSISTENCY_POLL_INTERVAL_MS="20",
        LAYER_GATEWAY_CONSISTENCY_STABLE_POLL_INTERVAL_MS="20",
        LAYER_GATEWAY_CONSISTENCY_SAFETY_MARGIN_MS="1",
    ) as process:
        call = EdgeCaller(process.addresses["http"], key=KEY)

        async def watermarks() -> list[int]:
            """Ask so often that every worker answers, and from then on watches it."""
            body = {"vector": [1.0, 0.0], "top_k": 1}
            asked = (call("POST", f"/v2/namespaces/{name}/query", body) for _ in range(20))
            found = await asyncio.gather(*asked)
            return [int(one[KNOWN]) for one in found if KNOWN in one]

        assert await eventually(watermarks)
        row = {"upsert_rows": [{"id": "a", "vector": [1.0, 0.0]}]}
        writing = asyncio.create_task(call("POST", f"/v2/namespaces/{name}", row))
        await begun.wait()
        stamp_ms = store.asked(write)[-1].json["upsert_rows"][0]["_hevlayer_upserted_at"]
        polls_count = len(store.asked(metadata))

        async def have_polled() -> bool:
            return len(store.asked(metadata)) >= polls_count + 20

        try:
            assert await eventually(have_polled)
            assert max(await watermarks()) < stamp_ms
        finally:
            go_on.set()
            assert (await writing).status == 200

        async def have_passed() -> bool:
            return any(found >= stamp_ms for found in await watermarks())

        assert await eventually(have_passed)


async def test_no_worker_asks_a_namespace_by_the_shards_of_one_that_another_deleted(
    tmp_path: Path,
) -> None:
    async with (
        embedded_store(tmp_path) as url,
        gateway_over(
            url, LAYER_GATEWAY_WORKERS=str(WORKERS), LAYER_GATEWAY_FACTS_TTL_S="600"
        ) as process,
        httpx.AsyncClient(
            base_url=f"http://{process.addresses['http']}",
            headers={"authorization": f"Bearer {KEY}"},
            timeout=20,
        ) as one_worker,  # since its connection stays open
    ):
        call, name = EdgeCaller(process.addresses["http"], key=KEY), "/v2/namespaces/anew"
        rows = [{"id": f"r-{at}", "vector": [1.0, 0.0]} for at in range(40)]
        body = {"upsert_rows": rows, "distance_metric": "cosine_distance"}

        async def queries() -> list[EdgeAnswer]:
            query = {"vector": [1.0, 0.0], "top_k": len(rows)}
            asked = (call("POST", f"{name}/query", query) for _ in range(20))
            return await asyncio.gather(*asked)

        async def all_know() -> bool:
            return all(KNOWN in one for one in await queries())

        (await one_worker.post(name, json=body)).raise_for_status()
        (await one_worker.post(f"{name}/init", json={"shard_count": 2})).raise_for_status()
        assert await eventually(all_know)
        (await one_worker.delete(name)).raise_for_status()
        (await one_worker.post(name, json=body)).raise_for_status()
        assert {len(one.json["rows"]) for one in await queries()} == {len(rows)}


def _runs(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
