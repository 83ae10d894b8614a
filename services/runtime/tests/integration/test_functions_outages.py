"""What functions do when the processes that they rest on die at bad moments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import grpc.aio
import pytest
import pytest_asyncio
from aiohttp import ClientSession, web

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_kit.errors import UnavailableError
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.function_system import runtime_of
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.postgres import PostgresServer
from layer_testing.processes import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME, FUNCTION = "rows", "tag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A store and a database, over which the rest comes and goes."""

    folder: Path
    store_url: str
    database_url: str

    @property
    def beside(self) -> str:
        return f"unix:{self.folder / 'g.sock'}"

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[ServiceProcess]:
        async with gateway_over(self.store_url, LAYER_GATEWAY_BESIDE_ADDRESS=self.beside) as one:
            yield one

    @asynccontextmanager
    async def runtime(self) -> AsyncIterator[tuple[ServiceProcess, Any]]:
        """Run a runtime that sweeps when it is told; yield it with a stub."""
        async with (
            runtime_of(
                self.beside,
                self.database_url,
                "127.0.0.1:0",
                LAYER_RUNTIME_SWEEP_LOOK_INTERVAL_S="86400",
            ) as process,
            grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
        ):
            yield process, runtime_pb2_grpc.FunctionServiceStub(channel)


@pytest_asyncio.fixture(loop_scope="module")
async def parts(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Parts]:
    async with embedded_store(tmp_path / "store") as store_url:
        yield Parts(folder=tmp_path, store_url=store_url, database_url=postgres.new_database())


@asynccontextmanager
async def refusing_results(store_url: str, statuses: Sequence[int]) -> AsyncIterator[str]:
    """Stand before a store, answering the first writes of results with these; yield the URL."""
    left = list(statuses)

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        is_write = request.method == "POST" and request.path == f"/v2/namespaces/{NAME}"
        if is_write and left and b"_hevlayer_udf_" in body:
            return web.json_response({"status": "error", "error": "full"}, status=left.pop(0))
        headers = {
            name: request.headers[name]
            for name in ("authorization", "content-type")
            if name in request.headers
        }
        async with session.request(
            request.method, store_url + request.path_qs, data=body, headers=headers
        ) as answer:
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                content_type=answer.content_type,
            )

    application = web.Application(client_max_size=2**20)
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    async with ClientSession() as session:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
    assert not left, "fewer writes came than were to be refused"


async def claimed(stub: Any, worker: str) -> list[Any]:
    request = runtime_pb2.ClaimItemsRequest(function_id=FUNCTION, worker_id=worker)
    return list((await stub.ClaimItems(request, timeout=30)).items)


async def begun(stub: Any, gateway: ServiceProcess) -> None:
    """Write two rows, register a function and let it find them."""
    edge = EdgeCaller(gateway.addresses["http"], key=KEY)
    rows = [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
    assert (await edge("POST", f"/v2/namespaces/{NAME}", {"upsert_rows": rows})).status == 200
    spec = runtime_pb2.FunctionSpec(target_namespaces=[NAME], inputs=["n"])
    await stub.UpdateFunction(runtime_pb2.UpdateFunctionRequest(function_id=FUNCTION, spec=spec))
    found = await stub.DiscoverItems(runtime_pb2.DiscoverItemsRequest(function_id=FUNCTION))
    assert found.enqueued_count == 2


def results(worker: str) -> runtime_pb2.CompleteItemsRequest:
    request = runtime_pb2.CompleteItemsRequest(function_id=FUNCTION, worker_id=worker)
    for id_ in ("a", "b"):
        item = runtime_pb2.ItemReference(namespace=NAME, id=common_pb2.DocumentId(text=id_))
        value = common_pb2.Value(string_value=f"{id_} by {worker}")
        request.items.add(item=item, attributes={"out": value})
    return request


async def outputs(gateway: ServiceProcess) -> list[str | None]:
    edge = EdgeCaller(gateway.addresses["http"], key=KEY)
    answer = await edge("POST", f"/v2/namespaces/{NAME}/documents", {"ids": ["a", "b"]})
    return [document["attributes"].get("out") for document in answer.json["documents"]]


async def counts(stub: Any) -> dict[str, int]:
    request = runtime_pb2.GetFunctionStatusRequest(function_id=FUNCTION)
    return dict((await stub.GetFunctionStatus(request)).status.state_counts)


async def test_a_runtime_that_dies_between_a_result_and_its_queue_does_no_work_twice(
    parts: Parts,
) -> None:
    async with parts.gateway() as gateway, AsyncExitStack() as stack:
        runtime, stub = await stack.enter_async_context(parts.runtime())
        await begun(stub, gateway)
        assert len(await claimed(stub, "w1")) == 2
        database = await asyncpg.connect(parts.database_url)
        async with database.transaction():
            # Whoever takes items off the queue counts them, and waits here for it.
            await database.execute("LOCK TABLE layer.function_completions IN EXCLUSIVE MODE")
            call = stub.CompleteItems(results("w1"), timeout=30)

            async def is_written() -> bool:
                return await outputs(gateway) == ["a by w1", "b by w1"]

            assert await eventually(is_written)
            await runtime.kill()
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        await database.execute("UPDATE layer.function_items SET due_at = now()")
        await database.close()
        async with parts.runtime() as (_, again):
            assert await counts(again) == {"processing": 2}
            assert await claimed(again, "w2") == []
            assert await counts(again) == {}
        assert await outputs(gateway) == ["a by w1", "b by w1"]


async def test_results_wait_for_a_gateway_that_is_away(parts: Parts) -> None:
    async with parts.runtime() as (_, stub):
        async with parts.gateway() as gateway:
            await begun(stub, gateway)
            assert len(await claimed(stub, "w1")) == 2
            await gateway.kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CompleteItems(results("w1"), timeout=60)
        error = from_rpc_error(caught.value)
        assert isinstance(error, UnavailableError)
        assert error.reason == "GATEWAY_DOWN"
        assert await counts(stub) == {"processing": 2}
        async with parts.gateway() as gateway:

            async def accepted() -> bool:
                try:
                    done = await stub.CompleteItems(results("w1"), timeout=60)
                except grpc.aio.AioRpcError:
                    return False
                return bool(done.updated_count == 2)

            assert await eventually(accepted)
            assert await outputs(gateway) == ["a by w1", "b by w1"]
            assert await counts(stub) == {}


async def test_a_store_that_is_full_or_away_for_a_while_loses_no_result(parts: Parts) -> None:
    async with (
        refusing_results(parts.store_url, [429, 503]) as store_url,
        replace(parts, store_url=store_url).gateway() as gateway,
        parts.runtime() as (_, stub),
    ):
        await begun(stub, gateway)
        assert len(await claimed(stub, "w1")) == 2
        done = await stub.CompleteItems(results("w1"), timeout=60)
        assert done.updated_count == 2
        assert await outputs(gateway) == ["a by w1", "b by w1"]
        assert await counts(stub) == {}
