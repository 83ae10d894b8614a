"""The echo service inside the running test, and calls to its methods of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import grpc.aio
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client import CollectorRegistry

from layer_kit.health import Health
from layer_kit.rpc.calls import CallMetrics
from layer_kit.rpc.errors import from_rpc_error
from layer_kit.rpc.server import grpc_server
from layer_testing.echo import NAME, SERVICE, Echo, EchoStub, register

DEADLINE_S: Final = 5.0


class EchoServer:
    """A server in this process."""

    def __init__(self, address: str, registry: CollectorRegistry, health: Health) -> None:
        self.address = address
        self.health = health
        self._registry = registry

    def call_count(self, method: str, code: str) -> float | None:
        labels = {"method": f"/{NAME}/{method}", "code": code}
        return self._registry.get_sample_value("layer_rpc_server_seconds_count", labels)


async def calls_ended(server: EchoServer, method: str, code: str) -> float:
    """Return how often ``method`` ended with ``code``, once it has.

    A caller hears of the end a moment before the server has counted it.
    """
    async with asyncio.timeout(DEADLINE_S):
        while not (count := server.call_count(method, code)):  # noqa: ASYNC110
            await asyncio.sleep(0)  # nothing tells when a metric changes
    return count


def serve(
    address: str = "127.0.0.1:0",
    *,
    methods: Callable[[grpc.aio.Server], None] | None = None,
    shutdown_grace_s: float = 0,
) -> AbstractAsyncContextManager[EchoServer]:
    return _serve(address, methods or register(Echo(asyncio.Event().wait)), shutdown_grace_s)


@asynccontextmanager
async def _serve(
    address: str, methods: Callable[[grpc.aio.Server], None], shutdown_grace_s: float
) -> AsyncIterator[EchoServer]:
    registry, health = CollectorRegistry(), Health()
    async with grpc_server(
        address=address,
        services=[SERVICE],
        register=methods,
        health=health,
        calls=CallMetrics(registry),
        shutdown_grace_s=shutdown_grace_s,
    ) as bound:
        yield EchoServer(bound, registry, health)


async def texts(*values: str) -> AsyncIterator[StringValue]:
    for value in values:
        yield StringValue(value=value)


async def call(echo: EchoStub, method: str, text: str) -> list[str]:
    """Send ``text`` to a method of any kind; return the answers, or raise the server's error."""
    try:
        match method:
            case "Say":
                return [(await echo.say(StringValue(value=text), timeout=DEADLINE_S)).value]
            case "Count":
                stream = echo.count(StringValue(value=text), timeout=DEADLINE_S)
                return [answer.value async for answer in stream]
            case "Join":
                return [(await echo.join(texts(text), timeout=DEADLINE_S)).value]
            case _:
                chat = echo.chat(texts(text), timeout=DEADLINE_S)
                return [answer.value async for answer in chat]
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
