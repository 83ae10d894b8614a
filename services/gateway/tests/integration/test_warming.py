"""Bringing namespaces into the cache: jobs, hints, the first miss, and what health says of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.rpc.client import open_channel
from layer_objects import open_object_store
from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS_COUNT = 2500
QUICK = {
    "CONSISTENCY_POLL_INTERVAL_MS": "50",
    "CONSISTENCY_STABLE_POLL_INTERVAL_MS": "50",
    "CONSISTENCY_SAFETY_MARGIN_MS": "1",
}


@dataclass
class System:
    """The embedded store, a cache, and gateways that share a folder for objects."""

    home: Path
    stack: AsyncExitStack
    store_url: str

    async def start(self) -> None:
        self.objects = open_object_store((self.home / "objects").as_uri())
        self.stack.push_async_callback(self.objects.aclose)
        self.cache = await self.stack.enter_async_context(
            running(
                "layer_cache",
                LAYER_CACHE_GRPC_ADDRESS=f"unix:{self.home / 'cache.sock'}",
                LAYER_CACHE_DATA_DIRECTORY=str(self.home / "cache"),
            )
        )
        self.edge, process = await self.gateway()
        self.grpc_address = process.addresses["grpc"]
        self.reactive, _ = await self.gateway(LAYER_GATEWAY_REACTIVE_WARM="true")
        self.bare, _ = await self.gateway(LAYER_GATEWAY_CACHE_ADDRESS="")

    async def gateway(self, **settings: str) -> tuple[EdgeCaller, ServiceProcess]:
        defaults = {
            "LAYER_GATEWAY_CACHE_ADDRESS": f"unix:{self.home / 'cache.sock'}",
            "LAYER_GATEWAY_OBJECTS_DIRECTORY": str(self.home / "objects"),
            "LAYER_GATEWAY_REACTIVE_WARM": "false",
        }
        process = await self.stack.enter_async_context(
            gateway_over(self.store_url, **(defaults | QUICK | settings))
        )
        return EdgeCaller(process.addresses["http"], key=KEY), process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    home = tmp_path_factory.mktemp("warming")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(embedded_store(home / "store"))
        system = System(home, stack, url)
        await system.start()
        yield system


@pytest.fixture
def target(request: pytest.FixtureRequest) -> str:
    """The path of a namespace of this test's own."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return f"/v2/namespaces/{name[-100:]}"


def hint_of(target: str) -> str:
    return target.replace("/v2/", "/v1/") + "/hint_cache_warm"


async def fill(edge: EdgeCaller, target: str, count: int) -> None:
    rows = [{"id": f"row-{n:05}", "n": n, "vector": [n / 7, 0.5]} for n in range(count)]
    body = {"upsert_rows": rows, "distance_metric": "cosine_distance"}
    assert (await edge("POST", target, body)).status == 200


async def ended(edge: EdgeCaller, target: str, job: dict[str, Any]) -> dict[str, Any]:
    async def found() -> dict[str, Any]:
        answer = await edge("GET", f"{target}/warm-jobs/{job['id']}")
        assert answer.status == 200, answer.body
        return {} if answer.json["status"] == "running" else dict(answer.json)

    return await eventually(found)


async def served_from(edge: EdgeCaller, target: str, row: str) -> str:
    return (await edge("GET", f"{target}/documents/{row}"))["x-layer-cache"]


async def warm_in_health(edge: EdgeCaller, target: str) -> dict[str, Any]:
    """Return what health says of a namespace once it says that it is warm."""
    states = (await edge("GET", "/health")).json["cache_state"]
    found: dict[str, Any] = next(
        (one for one in states if target.endswith(f"/{one['namespace']}")), {}
    )
    return found if found.get("state") == "warm" else {}


async def test_a_warm_job_brings_every_row_in_and_every_gateway_shows_it(
    system: System, target: str
) -> None:
    edge, other = system.edge, system.reactive
    await fill(system.bare, target, ROWS_COUNT)

    started = await edge("POST", f"{target}/warm?page_size=700")
    assert started.status == 202
    assert started.json["status"] == "running"
    job = await ended(other, target, started.json)

    assert job["status"] == "completed", job
    assert (job["documents_scanned"], job["progress"]) == (ROWS_COUNT, 1.0)
    assert job["stable_as_of"] > 0
    assert job["created_at"] <= job["completed_at"]
    assert (await other("GET", f"{target}/warm-jobs")).json == {"warm_jobs": [job]}
    for number in (0, 699, 700, ROWS_COUNT - 1):
        assert await served_from(other, target, f"row-{number:05}") == "hit"

    assert await eventually(lambda: warm_in_health(other, target)) == {
        "namespace": target.rpartition("/")[2],
        "state": "warm",
        "warmed_through": job["stable_as_of"],
        "warm_inflight": False,
    }
    health = (await other("GET", "/health")).json
    assert health["aerospike"] == {"connected": True, "generation": 1}
    listing = (await other("GET", "/v2/namespaces?page_size=1000")).json["namespaces"]
    assert [one["cache_state"] for one in listing if target.endswith(f"/{one['name']}")] == [
        {"state": "warm", "warmed_through_ms": job["stable_as_of"], "warm_inflight": False}
    ]
    metrics = (await other("GET", "/metrics")).body.decode()
    assert 'state="warm",store_kind="turbopuffer"} 1.0' in metrics


async def test_a_warm_namespace_stays_whole_while_its_rows_are_given_shards(
    system: System, target: str
) -> None:
    edge = system.edge
    await fill(edge, target, 50)
    written_ms = time.time() * 1000

    async def is_stable() -> bool:
        layer = (await edge("GET", f"{target}/metadata")).json["layer"]
        return bool((layer["stable_as_of"] or 0) >= written_ms)

    await eventually(is_stable)
    await ended(edge, target, (await edge("POST", f"{target}/warm")).json)

    answer = await edge("POST", f"{target}/init", {"shard_count": 4})

    assert answer.json["layer"]["shard_state"] == "ready"
    counted = (await edge("POST", f"{target}/scans", {"mode": "count"})).json
    assert (counted["count"], counted["served_by"]) == (50, "cache")
    in_shard = {"mode": "count", "filters": ["_hevlayer_shard", "Gte", 4], "source": "cache"}
    assert (await edge("POST", f"{target}/scans", in_shard)).json["count"] == 0


async def test_jobs_are_the_same_over_grpc(system: System, target: str) -> None:
    await fill(system.bare, target, 10)
    namespace = target.rpartition("/")[2]
    metadata = (("authorization", f"Bearer {KEY}"),)
    async with open_channel(system.grpc_address) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        start = gateway_pb2.StartWarmJobRequest(namespace=namespace, page_size=4)
        first = (await stub.StartWarmJob(start, metadata=metadata)).job
        assert first.state == common_pb2.JOB_STATE_RUNNING
        shown = await ended(system.edge, target, {"id": first.id})
        second = (await stub.StartWarmJob(start, metadata=metadata)).job
        await ended(system.edge, target, {"id": second.id})

        get = gateway_pb2.GetWarmJobRequest(namespace=namespace, job_id=first.id)
        job = (await stub.GetWarmJob(get, metadata=metadata)).job
        assert job.state == common_pb2.JOB_STATE_COMPLETED
        assert (job.scanned_row_count, job.progress) == (10, 1.0)
        assert job.stable_as_of_ms == shown["stable_as_of"]
        assert first.create_time.ToMilliseconds() <= job.end_time.ToMilliseconds()

        page = gateway_pb2.ListWarmJobsRequest(namespace=namespace, page_size=1)
        ids: list[str] = []
        while not ids or page.page_token:
            found = await stub.ListWarmJobs(page, metadata=metadata)
            ids += [one.id for one in found.jobs]
            page.page_token = found.next_page_token
        assert ids == [first.id, second.id]


async def test_the_first_miss_warms_its_namespace_in_the_background(
    system: System, target: str
) -> None:
    await fill(system.bare, target, 50)
    edge = system.reactive
    assert await served_from(edge, target, "row-00001") == "miss"

    await eventually(lambda: warm_in_health(edge, target))
    assert await served_from(edge, target, "row-00049") == "hit"
    assert (await edge("GET", f"{target}/documents/none")).status == 404
    jobs = (await edge("GET", f"{target}/warm-jobs")).json["warm_jobs"]
    assert [job["status"] for job in jobs] == ["completed"]


async def test_jobs_outlive_their_gateway_which_records_what_it_leaves_undone(
    system: System, target: str
) -> None:
    edge, process = await system.gateway()
    await fill(edge, target, 10)
    done = await ended(edge, target, (await edge("POST", f"{target}/warm")).json)
    os.kill(system.cache.pid, signal.SIGSTOP)
    try:
        started = await edge("POST", f"{target}/warm")
        assert started.status == 202
        await process.terminate()
    finally:
        os.kill(system.cache.pid, signal.SIGCONT)
    found = (await system.edge("GET", f"{target}/warm-jobs")).json["warm_jobs"]
    assert found[0] == done
    assert found[1]["id"] == started.json["id"]
    assert found[1]["status"] == "failed"
    assert found[1]["error"]


async def test_a_job_whose_gateway_died_is_failed_by_who_reads_it(
    system: System, target: str
) -> None:
    name = target.rpartition("/")[2]
    folder = f"jobs/warm/{name}"
    text = (
        f'{{"id":"abc","namespace":"{name}","status":"running","progress":0.5,'
        '"documents_scanned":7,"created_at":"1970-01-01T00:00:01.000Z","created_ms":1000,'
        '"heard_ms":2000}'
    )
    await system.objects.put(f"{folder}/0000000001000-abc.json", text.encode())
    await system.objects.put(f"{folder}/0000000001001-damaged.json", b"{")
    for _ in range(2):
        job = (await system.edge("GET", f"{target}/warm-jobs/abc")).json
        assert job["status"] == "failed"
        assert job["error"] == "the gateway that ran it has ended"
        assert (job["progress"], job["documents_scanned"]) == (0.5, 7)
        assert "heard_ms" not in job
    kept = await system.objects.get(f"{folder}/0000000001000-abc.json")
    assert kept is not None
    assert b'"failed"' in kept.body


@pytest.mark.parametrize(
    ("options", "enabled"),
    [
        ("turbopuffer=true", {"turbopuffer", "documents", "snapshots"}),
        ("documents=false&snapshots=false", {"turbopuffer"}),
        ("turbopuffer=false&documents=false", {"snapshots"}),
        ("page_size=10&turbopuffer=false&snapshots=false", {"documents"}),
    ],
)
async def test_a_hint_does_what_its_options_say(
    system: System, target: str, options: str, enabled: set[str]
) -> None:
    await fill(system.edge, target, 10)
    answer = await system.edge("GET", f"{hint_of(target)}?{options}")
    assert answer.status == 200, answer.body
    found = answer.json
    steps = ("turbopuffer", "documents", "snapshots", "blobs")
    assert {step for step in steps if found[step]["enabled"]} == enabled
    expected = {"turbopuffer": "completed", "documents": "started", "snapshots": "no_snapshot"}
    assert {step: found[step]["status"] for step in steps} == {
        step: expected[step] if step in enabled else "skipped" for step in steps
    }
    if "documents" in enabled:
        job = await ended(system.edge, target, found["documents"]["job"])
        assert (job["status"], job["documents_scanned"]) == ("completed", 10)


async def test_a_hint_mirrors_the_latest_snapshot(system: System, target: str) -> None:
    await fill(system.edge, target, 1)
    name = target.rpartition("/")[2]
    for moment in (1000, 2000):
        text = f'{{"namespace":"n","watermark_ms":{moment},"sha":"abcdef0{moment}"}}'
        key = f"snapshots/{name}/{moment:013}-abcdef0.json"
        await system.objects.put(key, text.encode())
    of_a_job = f"{name}/0000000003000-abcdef0.json"
    for folder in ("snapshots", "snapshot-partials"):
        await system.objects.put(f"{folder}/{of_a_job}", b"{}")
    answer = await system.edge("GET", f"{hint_of(target)}?documents=false")
    assert answer.json["snapshots"] == {
        "enabled": True,
        "status": "completed",
        "key": f"snapshots/{name}/0000000002000-abcdef0.json",
        "watermark_ms": 2000,
        "sha": "abcdef02000",
    }


async def test_a_hint_without_options_is_the_stores_own(system: System, target: str) -> None:
    await fill(system.bare, target, 1)
    for query in ("", "?anything=else"):
        answer = await system.bare("GET", hint_of(target) + query)
        assert answer.status == 202
        assert "namespace" not in answer.json


async def test_without_a_cache_only_the_store_can_be_warmed(system: System, target: str) -> None:
    await fill(system.bare, target, 1)
    hint = hint_of(target)
    for method, path in (("POST", f"{target}/warm"), ("GET", f"{hint}?snapshots=true")):
        answer = await system.bare(method, path)
        assert answer.status == 503
        assert (answer.json["error"], answer.json["cache_state"]) == ("cache_cold", "cold")
    only_store = await system.bare("GET", f"{hint}?documents=false&snapshots=false")
    assert only_store.json["turbopuffer"]["status"] == "completed"
    health = (await system.bare("GET", "/health")).json
    assert health["aerospike"] == {"connected": False, "generation": 0}
    assert health["cache_state"] == []


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("POST", "/warm?page_size=0", "page_size"),
        ("POST", "/warm?page_size=10001", "page_size"),
        ("POST", "/warm?page_size=many", "page_size"),
        ("GET", "?page_size=0", "page_size"),
        ("GET", "?documents=yes", "documents"),
        ("GET", "?blob_budget_bytes=5", "blob_budget_bytes"),
        ("GET", "?blobs=true", "blob_budget_bytes"),
        ("GET", "?blobs=true&blob_budget_bytes=0", "blob_budget_bytes"),
        ("GET", "?blobs=true&blob_budget_bytes=9", "blobs"),
    ],
)
async def test_bad_options_are_named(
    system: System, target: str, method: str, path: str, field: str
) -> None:
    base = target if method == "POST" else hint_of(target)
    answer = await system.bare(method, base + path)
    assert answer.status == 422
    assert answer.json["error"] == "validation_error"
    assert field in answer.json["message"]


async def test_a_namespace_or_job_that_does_not_exist_is_not_found(
    system: System, target: str
) -> None:
    assert (await system.edge("GET", f"{target}/warm-jobs/none")).status == 404
    assert (await system.edge("GET", f"{target}/warm-jobs")).json == {"warm_jobs": []}
    job = await ended(system.edge, target, (await system.edge("POST", f"{target}/warm")).json)
    assert job["status"] == "failed"
    assert "does not exist" in job["error"]
