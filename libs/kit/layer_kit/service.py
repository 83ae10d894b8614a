"""The frame around a service: operations port, gRPC port, health, loops, in the right order.

Start: operations port (live, not ready) → what the service builds → gRPC → ready.
Stop: not ready → gRPC drained → what the service built, in reverse → operations port.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry

from layer_kit.health import Health
from layer_kit.loops import Loops, background_loops
from layer_kit.lost_errors import lost_errors_counted
from layer_kit.ops import ops_server
from layer_kit.rpc.calls import CallMetrics
from layer_kit.rpc.server import grpc_server
from layer_kit.settings import ServiceSettings
from layer_kit.telemetry.metrics import exposition_of, new_registry

START: Final = "start"


class ServiceFrame:
    """What a composition root builds on. Made by :func:`service_frame`."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        health: Health,
        registry: CollectorRegistry,
        loops: Loops,
        resources: AsyncExitStack,
    ) -> None:
        self._settings = settings
        self.health = health
        self.registry = registry
        self.calls = CallMetrics(registry)
        """Of every server of the process."""
        self.loops = loops
        self.resources = resources
        """Closed after gRPC has drained, last in first out."""
        self.draining = asyncio.Event()
        """Set when the process is about to stop: calls that have no end of their own end then."""
        self.addresses: dict[str, str] = {}

    async def serve_grpc(
        self,
        address: str,
        services: Sequence[ServiceDescriptor],
        register: Callable[[grpc.aio.Server], None],
        *,
        reuse_port: bool = False,
        further_address: str = "",
    ) -> None:
        """Start the gRPC server; it stops before anything entered on ``resources`` earlier."""
        self.addresses["grpc"] = await self.resources.enter_async_context(
            grpc_server(
                address=address,
                services=services,
                register=register,
                health=self.health,
                calls=self.calls,
                shutdown_grace_s=self._settings.shutdown_grace_s,
                reuse_port=reuse_port,
                further_address=further_address,
            )
        )

    def started(self) -> None:
        """Declare that everything is built: the process may get traffic."""
        self.health.ready(START)


@asynccontextmanager
async def service_frame(settings: ServiceSettings) -> AsyncIterator[ServiceFrame]:
    """Open the operations port and yield the frame; drain and close everything on exit."""
    health, registry = Health(), new_registry()
    health.require(START)
    with lost_errors_counted(registry):
        async with (
            ops_server(
                settings.ops_address, health=health, exposition=exposition_of(registry)
            ) as ops_address,
            background_loops(registry) as loops,
            AsyncExitStack() as resources,
        ):
            frame = ServiceFrame(
                settings, health=health, registry=registry, loops=loops, resources=resources
            )
            frame.addresses["ops"] = ops_address
            try:
                yield frame
            finally:
                health.drain()
                frame.draining.set()
