"""What the queue to the functions does with the writes it holds when the gateway stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_gateway.adapters.write_triggers import TriggerQueue
from layer_gateway.adapters.written_rows import written_rows
from layer_gateway.metrics import TriggerMetrics
from layer_kit.errors import LayerError
from layer_kit.names import Namespace
from layer_kit.rpc.client import open_channel
from layer_kit.turns import Steps
from layer_upstream import UpstreamResponse
from layer_wire.jsontext import encode

BOOKS = Namespace("books")
ANSWER = UpstreamResponse(200, [], [b"{}"])


class Runtime(runtime_pb2_grpc.FunctionServiceServicer):
    """The part of a runtime that hears of writes; one function watches a namespace."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.refusals: list[grpc.StatusCode] = []

    async def ListFunctions(self, request: Any, context: Any) -> Any:  # noqa: N802
        spec = runtime_pb2.FunctionSpec(
            triggers=[runtime_pb2.FUNCTION_TRIGGER_WRITE], target_namespaces=[BOOKS]
        )
        return runtime_pb2.ListFunctionsResponse(functions=[runtime_pb2.Function(spec=spec)])

    async def EnqueueItems(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.refusals:
            await context.abort(self.refusals.pop(0), "not now")
        self.ids += [id_.text for write in request.writes for id_ in write.ids]
        return runtime_pb2.EnqueueItemsResponse()


@dataclass
class World:
    """A queue and the runtime that it tells, which can be stopped."""

    queue: TriggerQueue
    registry: CollectorRegistry
    address: str
    runtime: Runtime = field(default_factory=Runtime)
    server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self.server = grpc.aio.server()
        runtime_pb2_grpc.add_FunctionServiceServicer_to_server(self.runtime, self.server)
        self.server.add_insecure_port(self.address)
        await self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(None)
            self.server = None

    def write(self, *ids: str) -> None:
        for id_ in ids:
            self.queue.written(BOOKS, encode({"upsert_rows": [{"id": id_}]}), ANSWER)

    def counted(self, result: str) -> float:
        name = "layer_udf_trigger_writes_total"
        return self.registry.get_sample_value(name, {"result": result}) or 0.0


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    address, registry = f"unix:{tmp_path / 'r.sock'}", CollectorRegistry()
    async with open_channel(address, retries=False) as channel:
        stub = runtime_pb2_grpc.FunctionServiceStub(channel)
        world = World(TriggerQueue(stub, TriggerMetrics(registry)), registry, address)
        await world.start()
        await world.queue.refresh()
        yield world
        await world.stop()


async def test_a_close_tells_of_every_write_that_waits(world: World) -> None:
    world.write("a", "b", "c")
    await world.queue.close(30.0)
    assert world.runtime.ids == ["a", "b", "c"]
    assert (world.queue.queued_count, world.counted("dropped")) == (0, 0)


async def test_a_close_waits_for_a_runtime_that_is_restarting(world: World) -> None:
    world.runtime.refusals = [grpc.StatusCode.UNAVAILABLE] * 2
    world.write("a")
    await world.queue.close(30.0)
    assert (world.runtime.ids, world.counted("delivered")) == (["a"], 1)


async def test_a_close_drops_and_counts_what_nobody_takes_in_time(world: World) -> None:
    await world.stop()
    world.write("a", "b")
    await world.queue.close(0.1)
    assert (world.queue.queued_count, world.counted("dropped")) == (0, 2)


async def test_a_close_waits_for_the_step_that_is_telling(world: World) -> None:
    step = asyncio.create_task(world.queue.step())
    await asyncio.sleep(0)
    world.write("a")
    await asyncio.gather(world.queue.close(30.0), step)
    assert (world.runtime.ids, world.counted("delivered")) == (["a"], 1)


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED], ids=str
)
async def test_writes_stay_while_the_runtime_is_away(world: World, code: grpc.StatusCode) -> None:
    world.runtime.refusals = [code]
    world.write("a")
    with pytest.raises(LayerError):
        await world.queue.step()
    assert world.queue.queued_count == 1
    await world.queue.step()
    assert (world.runtime.ids, world.counted("delivered")) == (["a"], 1)


async def test_a_write_that_cannot_be_read_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(
        namespace: Namespace, body: bytes, answer: bytes
    ) -> Steps[list[runtime_pb2.WrittenRows]]:
        if b"odd" in body:
            raise ValueError(body)
        return (yield from written_rows(namespace, body, answer))

    monkeypatch.setattr("layer_gateway.adapters.write_triggers.written_rows", read)
    world.write("odd", "a")
    await world.queue.step()
    assert (world.runtime.ids, world.counted("refused")) == (["a"], 1)
    assert world.queue.queued_count == 0


async def test_a_write_that_the_runtime_refuses_holds_up_no_other(world: World) -> None:
    world.runtime.refusals = [grpc.StatusCode.INVALID_ARGUMENT]
    world.write("a")
    await world.queue.step()
    world.write("b")
    await world.queue.step()
    assert (world.runtime.ids, world.counted("refused")) == (["b"], 1)
