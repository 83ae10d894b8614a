"""Functions as they run: a store, a gateway, a database and a runtime, as real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from layer_kit.rpc.client import open_channel
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.function_calls import FunctionCalls, HttpFunctionCalls, RefusedError
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.grpc_function_calls import GrpcFunctionCalls
from layer_testing.processes import ServiceProcess, running

WORKER: Final = "w1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSystem:
    """Processes that serve functions, and calls of them in few words."""

    edge: EdgeCaller
    gateway: ServiceProcess
    runtimes: Sequence[ServiceProcess]
    database_url: str
    folder: Path
    index_file: Path
    """Index manifests, which give namespaces their labels."""
    transports: Mapping[str, FunctionCalls]
    calls: FunctionCalls

    @asynccontextmanager
    async def further_runtime(self, **environment: str) -> AsyncIterator[ServiceProcess]:
        """Run one more replica of the runtime, which sweeps by itself."""
        async with runtime_of(
            f"unix:{self.folder / 'g.sock'}", self.database_url, "127.0.0.1:0", **environment
        ) as process:
            yield process

    async def call(self, method: str, path: str, body: object = b"") -> Any:
        """Call the edge; return what it answers.

        Raises:
            AssertionError: It does not answer 200.
        """
        answer = await self.edge(method, path, body)
        assert answer.status == HTTPStatus.OK, (method, path, answer.status, answer.body)
        return answer.json

    async def refused(self, method: str, path: str, body: object = b"") -> EdgeAnswer:
        return await self.edge(method, path, body)

    async def write(self, namespace: str, **body: object) -> Any:
        return await self.call("POST", f"/v2/namespaces/{namespace}", body)

    async def put(self, function_id: str, **spec: object) -> Any:
        """Register a function."""
        return await self.calls.put(function_id, {"worker": {}, **spec})

    async def discover(self, function_id: str, **body: object) -> Any:
        return await self.calls.discover(function_id, body)

    async def claim(self, function_id: str, worker: str = WORKER, **body: object) -> list[Any]:
        return await self.calls.claim(function_id, {"worker_id": worker, **body})

    async def complete(self, function_id: str, items: Sequence[Any], worker: str = WORKER) -> int:
        return (await self.calls.complete(function_id, worker, items))[0]

    async def dispositions(
        self, function_id: str, items: Sequence[Any], worker: str = WORKER
    ) -> list[str]:
        """Hand results in; return what became of each."""
        return (await self.calls.complete(function_id, worker, items))[1]

    async def fail(self, function_id: str, items: Sequence[Any], worker: str = WORKER) -> int:
        return await self.calls.fail(function_id, worker, items)

    async def heartbeat(self, function_id: str, items: Sequence[Any], worker: str = WORKER) -> int:
        return await self.calls.heartbeat(function_id, worker, items)

    async def status(self, function_id: str) -> Any:
        return await self.calls.status(function_id)

    async def refusal(self, call: Awaitable[object]) -> str:
        """Return why a call is refused.

        Raises:
            AssertionError: It is not.
        """
        try:
            found = await call
        except RefusedError as error:
            return error.reason
        raise AssertionError(found)

    def by(self, transport: str) -> FunctionSystem:
        """Return the same system, spoken to by HTTP or by gRPC."""
        return replace(self, calls=self.transports[transport])

    async def row(self, namespace: str, id_: str) -> dict[str, Any]:
        """Return the attributes of a row, without those that layer stamps every row with."""
        found = await self.call("GET", f"/v2/namespaces/{namespace}/documents/{id_}")
        attributes: dict[str, Any] = found["attributes"]
        stamps = ("_hevlayer_upserted_at", "_hevlayer_shard")
        return {name: value for name, value in attributes.items() if name not in stamps}


def keys(items: Sequence[Any]) -> list[str]:
    """Return the ids of items."""
    return [item["id"] for item in items]


def marker(function_id: str, what: str = "v") -> str:
    """Return the name of an attribute by which rows remember a function."""
    return f"_hevlayer_udf_{function_id.replace('-', '_')}_{what}"


@asynccontextmanager
async def function_system(
    folder: Path,
    database_url: str,
    *,
    runtime_count: int = 1,
    **environment: str,
) -> AsyncIterator[FunctionSystem]:
    """Run all of it for the length of the block; sweeps come only when they are asked for.

    Args:
        folder: Gets the store's data.
        environment: Further variables of the runtimes.
    """
    async with AsyncExitStack() as stack:
        index_file = folder / "indexes.yaml"
        index_file.write_text("[]")
        store_url = await stack.enter_async_context(embedded_store(folder / "store"))
        beside = f"unix:{folder / 'g.sock'}"
        runtimes = [
            await stack.enter_async_context(
                runtime_of(
                    beside,
                    database_url,
                    f"unix:{folder / f'r{at}.sock'}",
                    **({"LAYER_RUNTIME_SWEEP_LOOK_INTERVAL_S": "86400"} | environment),
                )
            )
            for at in range(runtime_count)
        ]
        gateway = await stack.enter_async_context(
            gateway_over(
                store_url,
                LAYER_GATEWAY_BESIDE_ADDRESS=beside,
                LAYER_GATEWAY_RUNTIME_ADDRESS=runtimes[0].addresses["grpc"],
                LAYER_GATEWAY_INDEX_FILE=str(index_file),
                NAMESPACE_LIST_CACHE_TTL_MS="0",
            )
        )
        edge = EdgeCaller(gateway.addresses["http"], key=KEY)
        channel = open_channel(runtimes[0].addresses["grpc"])
        stack.push_async_callback(channel.close)
        http = HttpFunctionCalls(edge)
        yield FunctionSystem(
            edge=edge,
            calls=http,
            transports={"http": http, "grpc": GrpcFunctionCalls(channel)},
            gateway=gateway,
            runtimes=runtimes,
            database_url=database_url,
            folder=folder,
            index_file=index_file,
        )


@asynccontextmanager
async def runtime_of(
    gateway_address: str, database_url: str, address: str, **environment: str
) -> AsyncIterator[ServiceProcess]:
    """Run a runtime service over a gateway and a database."""
    settings = {
        "LAYER_RUNTIME_GRPC_ADDRESS": address,
        "LAYER_RUNTIME_GATEWAY_ADDRESS": gateway_address,
        "LAYER_RUNTIME_GATEWAY_API_KEY": KEY,
        "DATABASE_URL": database_url,
    }
    async with running("layer_runtime", **(settings | environment)) as process:
        yield process
