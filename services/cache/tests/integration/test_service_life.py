"""The life of a cache process: starts, stops and crashes, members, and what it tells of itself."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_cache_testing.calls import BODY, Start, fill, lookup, open_session
from layer_kit.rpc.client import open_channel
from layer_testing.grpc_calls import reflected_services
from layer_testing.processes import child_environment, launch


@pytest.mark.parametrize("backend", ["embedded", "sqlite"])
async def test_a_clean_restart_serves_what_was_stored(start: Start, backend: str) -> None:
    async with start(LAYER_CACHE_BACKEND=backend) as (cache, process):
        session = await open_session(cache)
        await fill(cache, b"u1")
        await cache.CloseSession(cache_pb2.CloseSessionRequest(session_id=session))
        assert await process.terminate() == 0
    async with start(LAYER_CACHE_BACKEND=backend) as (cache, _):
        found = await lookup(cache, b"u1")
        assert list(found.bodies) == [BODY]
        assert not found.is_suspended


async def test_a_crash_with_a_member_suspends_hits_until_it_is_back(start: Start) -> None:
    async with start() as (cache, _):
        await fill(cache, b"u1", b"u2")
    async with start() as (cache, process):
        session = await open_session(cache)
        await cache.FenceRows(
            cache_pb2.FenceRowsRequest(
                session_id=session, namespace="books", fence_id=b"f", ids=[b"u1"], ttl_ms=1000
            )
        )
        await process.kill()
    async with start() as (cache, _):
        assert (await lookup(cache, b"u1", b"u2")).is_suspended
        session = await open_session(cache)
        await cache.RenewSession(
            cache_pb2.RenewSessionRequest(
                session_id=session, elapsed_ms=0, answered_renewal_number=1
            )
        )
        assert list((await lookup(cache, b"u1", b"u2")).hit_positions) == [1]


async def test_a_member_that_vanishes_is_given_up_after_the_set_time(start: Start) -> None:
    settings = {"LAYER_CACHE_LEASE_S": "0.2", "LAYER_CACHE_DECLARED_GONE_S": "1"}
    async with start(**settings) as (cache, _):
        await open_session(cache)
        await fill(cache, b"u1")
        seen = [(await lookup(cache, b"u1")).is_suspended]
        async with asyncio.timeout(10):
            while len(seen) < 3:
                found = await lookup(cache, b"u1")
                if found.is_suspended != seen[-1]:
                    seen.append(found.is_suspended)
        assert seen == [False, True, False]
        assert not found.hit_positions


@pytest.mark.parametrize("port", ["grpc", "lookups"])
async def test_a_stream_looks_up_as_calls_do_and_ends_when_the_process_stops(
    start: Start, port: str
) -> None:
    async with (
        start(LAYER_CACHE_SHUTDOWN_GRACE_S="60") as (cache, process),
        open_channel(process.addresses[port]) as channel,
    ):
        await fill(cache, b"u1", b"u2")
        stream: Any = cache_pb2_grpc.CacheServiceStub(channel).StreamLookups()
        requests = [
            cache_pb2.LookupRowsRequest(namespace="books", ids=[b"u2", b"u3"], with_vectors=True),
            cache_pb2.LookupRowsRequest(namespace="books", ids=[b"u1"], attribute_names=["year"]),
        ]
        await stream.write(
            cache_pb2.StreamLookupsRequest(
                lookups=[
                    cache_pb2.NumberedLookup(lookup_number=number, lookup=request)
                    for number, request in enumerate(requests)
                ]
            )
        )
        answered = {one.lookup_number: one.found for one in (await stream.read()).answers}
        for number, request in enumerate(requests):
            called = await cache.LookupRows(request)
            answered[number].read_token = called.read_token  # no two are alike
            assert answered[number] == called
        assert await process.terminate() == 0
        assert await stream.code() is grpc.StatusCode.OK


async def test_a_session_tells_where_lookups_are_served(start: Start) -> None:
    async with start(LAYER_CACHE_LOOKUPS_ADDRESS="127.0.0.1:0") as (cache, process):
        answer = await cache.OpenSession(cache_pb2.OpenSessionRequest(member_id="one"))
        assert process.addresses["lookups"] == f"127.0.0.1{answer.lookup_address}"


async def test_a_place_beside_grpc_that_is_taken_costs_the_port_of_lookups_alone(
    start: Start, tmp_path: Path
) -> None:
    grpc_address = f"unix:{tmp_path}/cache.sock"
    (tmp_path / "cache.sock.lookups").touch()
    async with start(LAYER_CACHE_GRPC_ADDRESS=grpc_address) as (cache, process):
        answer = await cache.OpenSession(cache_pb2.OpenSessionRequest(member_id="one"))
        assert not answer.lookup_address
        assert "lookups_not_direct" in process.stderr


async def test_health_reflection_and_metrics_answer(start: Start) -> None:
    async with start() as (cache, process):
        await fill(cache, b"u1")
        await lookup(cache, b"u1")
        async with open_channel(process.addresses["grpc"]) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            status = await health.Check(
                health_pb2.HealthCheckRequest(service="layer.cache.v1.CacheService")
            )
            assert status.status == health_pb2.HealthCheckResponse.SERVING
            names = await reflected_services(channel)
        assert "layer.cache.v1.CacheService" in names
        async with aiohttp.ClientSession() as http:
            answer = await http.get(f"http://{process.addresses['ops']}/metrics")
            metrics = await answer.text()
    for line in (
        'layer_cache_lookups_total{namespace="books",result="hit",set="documents"} 1.0',
        'layer_cache_lookups_total{namespace="books",result="miss",set="documents"} 1.0',
        'layer_cache_backfills_total{set="documents",status="stored"} 1.0',
        'layer_cache_backfill_duration_seconds_count{set="documents",status="stored"} 1.0',
        'layer_cache_payload_bytes_count{result="hit",set="documents"} 1.0',
        'layer_cache_lookup_duration_seconds_count{result="hit",set="documents"} 1.0',
        'layer_cache_lookup_duration_seconds_count{result="miss",set="documents"} 1.0',
        "layer_cache_entries 1.0",
        "layer_cache_suspended 0.0",
        "layer_cache_fences_expired_total 0.0",
        "layer_cache_read_only 0.0",
    ):
        assert line in metrics


async def test_a_directory_in_use_or_not_writable_stops_the_start(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    async with start():
        for path, text in (
            (tmp_path / "cache", "in use by another process"),
            (tmp_path / "file" / "cache", "cannot be written"),
        ):
            second = await launch("layer_cache", LAYER_CACHE_DATA_DIRECTORY=str(path))
            assert await second.wait() == 2
            assert text in second.stderr


async def test_damaged_contents_are_replaced(start: Start, tmp_path: Path) -> None:
    async with start() as (cache, process):
        await fill(cache, b"u1")
        await process.terminate()
    (tmp_path / "cache" / "rows" / "CURRENT").write_text("nonsense\n")
    async with start() as (cache, _):
        assert not (await lookup(cache, b"u1")).hit_positions
        await fill(cache, b"u1")


def without(path: Path, *modules: str) -> dict[str, str]:
    """Return what hides packages from a process, as on a machine that has no wheel of them."""
    for module in modules:
        (path / f"{module}.py").write_text("raise ImportError('no wheel')\n")
    inherited = child_environment({})["PYTHONPATH"]
    return {"PYTHONPATH": os.pathsep.join([str(path), inherited])}


async def test_where_rocksdb_does_not_run_rows_are_kept_in_sqlite(
    start: Start, tmp_path: Path
) -> None:
    bare = without(tmp_path, "rocksdict", "aerospike")
    async with start(**bare) as (cache, process):
        await fill(cache, b"u1")
        assert "rocksdb_does_not_run" in process.stderr
        assert await process.terminate() == 0
    async with start(**bare) as (cache, _):
        assert list((await lookup(cache, b"u1")).bodies) == [BODY]
        figures = await cache.GetStatistics(cache_pb2.GetStatisticsRequest())
        assert figures.backend == "sqlite"


async def test_a_cluster_cannot_be_used_without_its_client(tmp_path: Path) -> None:
    process = await launch(
        "layer_cache", LAYER_CACHE_BACKEND="aerospike", **without(tmp_path, "aerospike")
    )
    assert await process.wait() == 2
    assert "no wheel" in process.stderr
    assert "Traceback" not in process.stderr


async def test_the_memory_backend_needs_no_directory(start: Start, tmp_path: Path) -> None:
    async with start(LAYER_CACHE_BACKEND="memory") as (cache, _):
        await fill(cache, b"u1")
        assert list((await lookup(cache, b"u1")).bodies) == [BODY]
    assert not (tmp_path / "cache").exists()
