"""Health, readiness, metrics, and how a gateway comes and goes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from layer_kit.errors import UnavailableError
from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, Caller, gateway_over
from layer_testing.processes import ServiceProcess, running
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_health_and_readiness_have_the_fields_of_the_contract(edge: EdgeCaller) -> None:
    for path in ("/health", "/ready", "/health?x=y"):
        received = await edge("GET", path)
        assert received.status == 200
        assert received.json.keys() == {"status", "version", "aerospike", "cache_state"}
        assert received.json["status"] == "ok"
        assert received.json["aerospike"] == {"connected": False, "generation": 0}
        assert received["x-request-id"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_health_by_any_way_tells_of_a_drain_marker(
    store: ScriptedStore, tmp_path: Path, workers: int
) -> None:
    marker = tmp_path / "draining"
    async with (
        gateway_over(
            store.url,
            LAYER_DRAIN_MARKER_PATH=str(marker),
            LAYER_GATEWAY_WORKERS=str(workers),
        ) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        ops = EdgeCaller(process.addresses["ops"], key=KEY)
        health: Any = health_pb2_grpc.HealthStub(channel)

        async def says(status: int, serving: int) -> bool:
            told = await health.Check(health_pb2.HealthCheckRequest())
            return ((await ops("GET", "/readyz")).status, told.status) == (status, serving)

        assert await says(200, health_pb2.HealthCheckResponse.SERVING)
        marker.touch()
        assert await eventually(lambda: says(503, health_pb2.HealthCheckResponse.NOT_SERVING))
        assert (
            (await ops("GET", "/readyz")).json["components"]["drain_marker"].startswith(str(marker))
        )
        assert (await ops("GET", "/livez")).status == 200
        marker.unlink()
        assert await eventually(lambda: says(200, health_pb2.HealthCheckResponse.SERVING))


async def test_a_gateway_with_a_drain_marker_takes_no_requests(
    store: ScriptedStore, tmp_path: Path
) -> None:
    marker = tmp_path / "draining"
    async with gateway_over(store.url, LAYER_DRAIN_MARKER_PATH=str(marker)) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        assert (await edge("GET", "/ready")).status == 200
        marker.touch()

        async def is_unready() -> bool:
            return (await edge("GET", "/ready")).status == 503

        assert await eventually(is_unready)
        received = await edge("GET", "/ready")
        assert received.json.keys() == {"status", "version"}
        assert received.json["status"] == "draining"
        assert (await edge("GET", "/health")).status == 200
        store.requests.clear()
        refused = await edge("GET", "/v1/unknown", b"", {"connection": "keep-alive"})
        assert (refused.status, refused.json["error"]) == (503, "gateway_draining")
        assert refused.json.keys() == {"error", "message", "reason"}
        assert (refused["connection"], refused["retry-after"]) == ("close", "1")
        assert refused["x-should-retry"] == "true"
        assert store.requests == []
        nobody = EdgeCaller(edge.address, key="")
        assert (await nobody("GET", "/v1/unknown")).status == 401
        with pytest.raises(UnavailableError) as drained:
            async with grpc.aio.insecure_channel(process.addresses["grpc"]) as channel:
                await Caller(channel).list()
        assert drained.value.reason == "GATEWAY_DRAINING"
        marker.unlink()

        async def is_ready() -> bool:
            return (await edge("GET", "/ready")).status == 200

        assert await eventually(is_ready)
        assert (await edge("GET", "/v1/unknown")).status == 404


async def test_a_running_request_ends_before_the_process_does(store: ScriptedStore) -> None:
    arrived, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(exchange: Exchange) -> None:
        arrived.set()
        await goes_on.wait()
        await exchange.say(answer({"status": "OK"}))

    store.namespace("draining")
    store.answers["POST /v2/namespaces/draining"] = slow
    async with gateway_over(store.url) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        body = {"upsert_rows": [{"id": "a"}]}
        write = asyncio.create_task(edge("POST", "/v2/namespaces/draining", body))
        await arrived.wait()
        end = asyncio.create_task(process.terminate())
        operations = EdgeCaller(process.addresses["ops"], key="")

        async def is_unready() -> bool:
            return (await operations("GET", "/readyz")).status == 503

        async def is_closed() -> bool:
            try:
                return (await edge("GET", "/ready")).status == 503
            except OSError:
                return True

        assert await eventually(is_unready)
        assert await eventually(is_closed)
        assert not write.done()
        goes_on.set()
        received = await write
        assert (received.status, received.json) == (200, {"status": "OK"})
        assert await end == 0


async def test_a_request_that_does_not_end_is_given_up_after_the_grace(
    store: ScriptedStore,
) -> None:
    arrived = asyncio.Event()

    async def never(exchange: Exchange) -> None:
        arrived.set()
        await exchange.wait_closed()

    store.answers["GET /never"] = never
    async with gateway_over(store.url, LAYER_GATEWAY_SHUTDOWN_GRACE_S="0.2") as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        call = asyncio.create_task(edge("GET", "/never"))
        await arrived.wait()
        assert await process.terminate() == 0
        await asyncio.wait([call])
        assert call.exception() is not None or call.result().status >= 500


METRICS = {
    "layer_http_request_seconds": "histogram",
    "layer_tpuf_inflight": "gauge",
    "layer_upstream_connections": "gauge",
    "layer_upstream_replays": "counter",
}
WITH_A_CACHE = {
    "layer_cache_session_connected": "gauge",
    "layer_cache_session_losses": "counter",
    "layer_cache_unannounced_writes": "counter",
    "hevlayer_document_cache_cold_starts": "counter",
    "hevlayer_document_cache_cold_start_seconds": "histogram",
    "hevlayer_document_cache_cold_start_active": "gauge",
}


async def families(edge: EdgeCaller) -> dict[str, str]:
    received = await edge("GET", "/metrics")
    assert received["content-type"].startswith("text/plain; version=")
    exposition = received.body.decode()
    return {family.name: family.type for family in text_string_to_metric_families(exposition)}


async def test_metrics_have_their_names(edge: EdgeCaller, gateway: ServiceProcess) -> None:
    found = await families(edge)
    assert METRICS.items() <= found.items()
    operations = await EdgeCaller(gateway.addresses["ops"], key="")("GET", "/metrics")
    assert b"layer_http_request_seconds" in operations.body


async def test_a_gateway_with_a_cache_has_metrics_of_it(
    store: ScriptedStore, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path / 'cache.sock'}"
    async with (
        running("layer_cache", LAYER_CACHE_GRPC_ADDRESS=address, LAYER_CACHE_BACKEND="memory"),
        gateway_over(store.url, LAYER_GATEWAY_CACHE_ADDRESS=address) as process,
    ):
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        assert (METRICS | WITH_A_CACHE).items() <= (await families(edge)).items()
        assert (await edge("GET", "/health")).json["aerospike"]["connected"] is True


async def test_requests_are_counted_by_operation_and_status(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("counted")
    for _ in range(3):
        await edge("POST", "/v2/namespaces/counted", {"upsert_rows": [{"id": "a"}]})
    await edge("POST", "/v2/namespaces/counted", {})
    await edge("GET", "/v2/namespaces/counted/documents/a")
    await edge("GET", "/v1/unknown")
    exposition = (await edge("GET", "/metrics")).body.decode()
    samples = {
        (sample.labels["operation"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "layer_http_request_seconds_count"
    }
    assert samples["write", "2xx"] == 3
    assert samples["write", "4xx"] == 1
    assert samples["fetch_one", "4xx"] == 1
    assert samples["pass", "4xx"] == 1
    assert samples["public", "2xx"] >= 1


async def test_the_data_plane_is_counted_under_the_names_of_the_contract(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("told", rows=({"id": "a", "$dist": 0.1},), vector="[1]f32")
    written = {
        "status": "OK",
        "rows_upserted": 2,
        "billing": {"billable_logical_bytes_written": 700},
    }
    store.answers["POST /v2/namespaces/told"] = answer(written)
    await edge("POST", "/v2/namespaces/told", {"upsert_rows": [{"id": "a"}, {"id": "b"}]})
    await edge("POST", "/v2/namespaces/told/query", {"vector": [1], "filters": ["k", "Eq", 1]})
    await edge("POST", "/v2/namespaces/told/query", {"vector": []})
    await edge("POST", "/v2/namespaces/told/documents", {"ids": ["a", "x", "y"]})
    assert (await edge("POST", "/v2/namespaces/told/warm")).json["error"] == "cache_cold"
    nobody = EdgeCaller(edge.address, key="")
    await nobody("POST", "/v2/namespaces/told/query", {"vector": [1]})
    exposition = (await edge("GET", "/metrics")).body.decode()
    samples = {
        (sample.name, *(sample.labels.get(key, "") for key in ("status", "cache_result"))): sample
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.labels.get("namespace") == "told"
    }
    assert samples["layer_query_duration_seconds_count", "ok", ""].value == 1
    assert samples["layer_query_duration_seconds_count", "layer_error", ""].value == 1
    assert samples["layer_query_shape_total", "ok", ""].labels["has_filter"] == "true"
    took = samples["layer_query_duration_seconds_sum", "ok", ""].value
    upstream = samples["layer_query_tpuf_seconds_sum", "ok", ""].value
    assert 0 < upstream < took
    assert samples["layer_upsert_batch_size_sum", "", ""].value == 2
    assert samples["hevlayer_tpuf_billable_bytes_written_total", "", ""].value == 700
    assert samples["layer_fetch_duration_seconds_count", "", "miss"].value == 1
    assert samples["hevlayer_cache_demand_total", "", ""].value == 2
    assert samples["hevlayer_cache_cold_responses_total", "", ""].value == 1
