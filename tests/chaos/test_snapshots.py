"""Snapshots while processes are killed and the object store is away, slow or failing.

What is judged: a watermark that was told ends in one snapshot of what there was, a job ends or says
why it cannot, and what is in memory or in the cache goes on being answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from layer.common.v1 import common_pb2
from layer_kit.errors import LayerError, UnavailableError
from layer_snapshots_testing.client import (
    TOOLS,
    TOOLS_SHA,
    WATERMARK_MS,
    SnapshotsClient,
    bucket_of,
    running_snapshots,
)
from layer_snapshots_testing.gateway import RowsGateway, rows_gateway
from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.processes import ServiceProcess, running
from layer_testing.s3 import S3Server, s3_server
from layer_testing.scripted_store import answer, scripted_store
from tests.chaos.faults import Link

FIELDS = ("kind", "rating", "tags")
FAILING = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/xml\r\n"
    b"content-length: 57\r\n\r\n<Error><Code>InternalError</Code><Message/></Error>      "
)

Replica = tuple[SnapshotsClient, ServiceProcess]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@dataclass(slots=True, kw_only=True)
class World:
    """Everything that runs beside the replicas."""

    gateway: RowsGateway
    gateway_address: str
    s3: S3Server
    failing_address: str
    link: Link
    bucket: str
    stack: AsyncExitStack
    is_failing: bool = False
    settings: dict[str, str] = field(default_factory=dict)

    async def start(self, **environment: str) -> Replica:
        """Start one more replica."""
        settings = {
            **bucket_of(self.s3, self.bucket),
            "S3_ENDPOINT": f"http://{self.link.address}",
            "LAYER_SNAPSHOTS_LEASE_MS": "1500",
            "LAYER_FACET_REFRESH_MS": "300",
        }
        return await self.stack.enter_async_context(
            running_snapshots(self.gateway_address, **(settings | self.settings | environment))
        )

    def target(self) -> str:
        return self.failing_address if self.is_failing else self.s3.endpoint.split("//")[1]


@pytest.fixture
async def world(s3: S3Server) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        gateway, gateway_address = await stack.enter_async_context(rows_gateway())
        failing_address = await stack.enter_async_context(failing_store())
        found = World(
            gateway=gateway,
            gateway_address=gateway_address,
            s3=s3,
            failing_address=failing_address,
            link=Link(lambda: None),
            bucket=s3.new_bucket(),
            stack=stack,
        )
        found.link = Link(found.target)
        await found.link.open()
        stack.push_async_callback(found.link.close)
        gateway.namespaces["tools"] = TOOLS
        yield found


@asynccontextmanager
async def failing_store() -> AsyncIterator[str]:
    """Run what answers every request with a status of 500."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(FAILING)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


async def test_a_snapshot_whose_process_is_killed_is_taken_by_another(world: World) -> None:
    world.gateway.namespaces["tools"] = many = [
        {**row, "id": f"{at:06}"} for at in range(4_000) for row in TOOLS
    ]
    world.gateway.gate.clear()
    first, killed = await world.start()
    await first.set_policy(*FIELDS)
    await first.advance()
    await asyncio.wait_for(world.gateway.is_held.wait(), 20)

    second, _ = await world.start()
    await second.advance()
    await killed.kill()
    world.gateway.gate.set()

    assert [at for at, _ in await second.newest(1)] == [WATERMARK_MS]
    assert (await second.snapshot()).row_count == len(many)


async def test_a_job_whose_process_is_killed_is_run_by_another(world: World) -> None:
    world.gateway.gate.clear()
    first, killed = await world.start()
    job = await first.start_job("kind", page_size=2)
    await asyncio.wait_for(world.gateway.is_held.wait(), 20)
    await killed.kill()
    world.gateway.gate.set()

    second, _ = await world.start()
    ended = await second.ended_job(job.job_id)

    assert (ended.state, ended.error) == (common_pb2.JOB_STATE_COMPLETED, "")
    assert ended.scanned_row_count == len(TOOLS)
    assert (await second.snapshot(ended.sha)).row_count == len(TOOLS)


async def test_a_job_whose_key_went_with_its_process_says_so(world: World) -> None:
    world.gateway.gate.clear()
    world.settings = {"LAYER_SNAPSHOTS_GATEWAY_API_KEY": ""}
    first, killed = await world.start()
    job = await first.start_job("kind", "Bearer theirs", page_size=2)
    await asyncio.wait_for(world.gateway.is_held.wait(), 20)
    assert world.gateway.authorizations == ["Bearer theirs"]
    await killed.kill()

    second, _ = await world.start()
    ended = await second.ended_job(job.job_id)

    assert ended.state == common_pb2.JOB_STATE_FAILED
    assert "key" in ended.error


async def test_rows_written_while_they_are_counted_are_left_out(world: World) -> None:
    world.gateway.gate.clear()
    client, _ = await world.start()
    job = await client.start_job("kind", page_size=2)
    await asyncio.wait_for(world.gateway.is_held.wait(), 20)
    later = {"id": "t-9", "kind": "new", "_at": 2**52}
    world.gateway.namespaces["tools"] = [*TOOLS, later]
    world.gateway.failures = [UnavailableError("AWAY", "The stream is broken.")]
    world.gateway.gate.set()

    ended = await client.ended_job(job.job_id)

    assert ended.scanned_row_count == len(TOOLS)
    cuts = {request.as_of_ms for request in world.gateway.requests}
    assert (len(world.gateway.requests), len(cuts)) == (2, 1)


@pytest.mark.parametrize("is_failing", [False, True], ids=["away", "failing"])
async def test_without_the_object_store_the_latest_is_answered_and_taken_later(
    world: World,
    tmp_path: Path,
    is_failing: bool,  # noqa: FBT001 -- a parameter
) -> None:
    cache = await world.stack.enter_async_context(
        running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0",
            LAYER_CACHE_DATA_DIRECTORY=str(tmp_path),
        )
    )
    world.settings = {"LAYER_SNAPSHOTS_CACHE_ADDRESS": cache.addresses["grpc"]}
    client, process = await world.start()
    await client.set_policy(*FIELDS)
    await client.advance()
    await client.newest(1)

    async def is_known() -> bool:
        return (await client.snapshot()).sha == TOOLS_SHA

    await eventually(is_known)
    await take_away(world, is_failing=is_failing)

    assert (await client.snapshot()).sha == TOOLS_SHA
    assert await client.count("kind", "saw") == [3]
    for ask in (client.history, client.policy, lambda: client.start_job("kind")):
        with pytest.raises(LayerError) as refused:
            await ask()
        assert refused.value.reason == "OBJECT_STORE_FAILED"
    await process.kill()
    again, _ = await world.start()
    assert (await again.snapshot()).sha == TOOLS_SHA  # out of the cache

    world.gateway.namespaces["tools"] = TOOLS[:2]
    await again.advance(WATERMARK_MS + 1)
    await give_back(world)
    assert [at for at, _ in await again.newest(2)] == [WATERMARK_MS + 1, WATERMARK_MS]


async def test_a_slow_object_store_makes_snapshots_late_and_no_more(world: World) -> None:
    world.link.answers.delay_s = 0.15
    replicas = [await world.start() for _ in range(2)]
    client = replicas[0][0]
    await client.set_policy(*FIELDS, interval="1h")  # long past which none is due again
    await asyncio.gather(*(one.advance() for one, _ in replicas))

    assert await client.newest(1) == [(WATERMARK_MS, TOOLS_SHA[:7])]
    assert len(world.gateway.requests) == 1


async def test_the_edge_tells_which_part_is_away(world: World) -> None:
    client, process = await world.start()
    await client.set_policy(*FIELDS)
    async with scripted_store() as store:
        store.namespace("tools")
        store.answers["GET /v2/namespaces/tools/metadata"] = answer(
            {"schema": {}, "approx_row_count": 5, "index": {"status": "up-to-date"}}
        )
        settings = {"LAYER_GATEWAY_SNAPSHOTS_ADDRESS": process.addresses["grpc"]}
        gateway = await world.stack.enter_async_context(gateway_over(store.url, **settings))
        edge = EdgeCaller(gateway.addresses["http"], key=KEY)
        base = "/v2/namespaces/tools"
        asked = [
            ("GET", f"{base}/history", b""),
            ("GET", f"{base}/snapshots/377a8c3", b""),
            ("GET", f"{base}/snapshot-policy", b""),
            ("PUT", f"{base}/snapshot-policy", b'{"facetFields":["kind"]}'),
            ("GET", f"{base}/checkpoints", b""),
            ("POST", f"{base}/snapshots", b'{"field":"kind"}'),
            ("GET", f"{base}/snapshot-jobs", b""),
            ("GET", "/v2/activity/snapshots", b""),
        ]
        await take_away(world, is_failing=False)
        for method, path, body in asked:
            told = await edge(method, path, body, {"content-type": "application/json"})
            assert (told.status, told.json["error"]) == (502, "upstream_error"), path
            assert told.json["reason"] == "OBJECT_STORE_FAILED"
        await process.kill()
        for method, path, body in asked:
            told = await edge(method, path, body, {"content-type": "application/json"})
            assert (told.status, told.json["error"]) == (502, "upstream_error"), path
        described = await edge("GET", f"{base}/metadata")
        assert described.status == 200
        layer = described.json["layer"]
        assert (layer["indexed"], layer["index_lag_rows"]) == (None, None)


async def take_away(world: World, *, is_failing: bool) -> None:
    world.is_failing, world.link.is_refusing = is_failing, not is_failing
    await world.link.cut()


async def give_back(world: World) -> None:
    world.is_failing = world.link.is_refusing = False
    await world.link.cut()
