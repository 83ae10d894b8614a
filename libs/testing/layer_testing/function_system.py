"""Functions as they run: a store, a gateway, a database and a runtime, as real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
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
        return await self.call("PUT", f"/v2/udfs/{function_id}", {"spec": {"worker": {}, **spec}})

    async def discover(self, function_id: str, **body: object) -> Any:
        return await self.call("POST", f"/v2/udfs/{function_id}/discover", body)

    async def claim(self, function_id: str, worker: str = WORKER, **body: object) -> list[Any]:
        claimed = await self.call(
            "POST", f"/v2/udfs/{function_id}/claim", {"worker_id": worker, **body}
        )
        return list(claimed["items"])

    async def complete(self, function_id: str, items: Sequence[Any], worker: str = WORKER) -> int:
        return await self._on_items(function_id, "complete", items, worker)

    async def fail(self, function_id: str, items: Sequence[Any], worker: str = WORKER) -> int:
        return await self._on_items(function_id, "fail", items, worker)

    async def heartbeat(self, function_id: str, items: Sequence[Any], worker: str = WORKER) -> int:
        return await self._on_items(function_id, "heartbeat", items, worker)

    async def status(self, function_id: str) -> Any:
        return await self.call("GET", f"/v2/udfs/{function_id}/status")

    async def row(self, namespace: str, id_: str) -> dict[str, Any]:
        """Return the attributes of a row, without those that layer stamps every row with."""
        found = await self.call("GET", f"/v2/namespaces/{namespace}/documents/{id_}")
        attributes: dict[str, Any] = found["attributes"]
        stamps = ("_hevlayer_upserted_at", "_hevlayer_shard")
        return {name: value for name, value in attributes.items() if name not in stamps}

    async def _on_items(
        self, function_id: str, action: str, items: Sequence[Any], worker: str
    ) -> int:
        body = {"worker_id": worker, "items": list(items)}
        answer = await self.call("POST", f"/v2/udfs/{function_id}/items/{action}", body)
        return int(answer["updated"])


@asynccontextmanager
async def function_system(
    folder: Path, database_url: str, *, runtime_count: int = 1, **environment: str
) -> AsyncIterator[FunctionSystem]:
    """Run all of it for the length of the block; sweeps come only when they are asked for.

    Args:
        folder: Gets the store's data.
        environment: Further variables of the runtimes.
    """
    async with AsyncExitStack() as stack:
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
            )
        )
        yield FunctionSystem(
            edge=EdgeCaller(gateway.addresses["http"], key=KEY),
            gateway=gateway,
            runtimes=runtimes,
            database_url=database_url,
            folder=folder,
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
