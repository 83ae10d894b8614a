"""One way to run a gRPC server: calls guarded, health served, reflection on, drained on exit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from layer_kit.addresses import UnixAddress, bind_fault, parse_address, remove_stale_socket
from layer_kit.configuration import ConfigurationError
from layer_kit.health import Health
from layer_kit.rpc.calls import CallMetrics
from layer_kit.rpc.interceptor import CallInterceptor
from layer_kit.rpc.limits import CONCURRENT_CALLS_MAX, SERVER_OPTIONS


@asynccontextmanager
async def grpc_server(
    *,
    address: str,
    services: Sequence[ServiceDescriptor],
    register: Callable[[grpc.aio.Server], None],
    health: Health,
    calls: CallMetrics,
    shutdown_grace_s: float,
    reuse_port: bool = False,
    further_address: str = "",
) -> AsyncIterator[str]:
    """Serve until the block ends; yield the bound address.

    ``grpc.health.v1`` follows ``health``, which the caller drains before leaving the block: a
    load balancer then stops sending while running calls get ``shutdown_grace_s`` to finish.

    Args:
        reuse_port: Whether other processes may listen there, too, and take turns.
        further_address: Where to listen as well, unless it is empty.

    Raises:
        ConfigurationError: When the address cannot be bound.
    """
    interceptor = CallInterceptor(domain=services[0].file.package, calls=calls)
    server = grpc.aio.server(
        interceptors=[interceptor],
        options=(*SERVER_OPTIONS, ("grpc.so_reuseport", int(reuse_port))),
        maximum_concurrent_rpcs=CONCURRENT_CALLS_MAX,
    )
    probe: Any = grpc_health.aio.HealthServicer()
    register(server)
    health_pb2_grpc.add_HealthServicer_to_server(probe, server)
    names = [service.full_name for service in services]
    reflection.enable_server_reflection(
        (*names, grpc_health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    bound = _bind(server, address)
    if further_address:
        _bind(server, further_address)
    await server.start()

    async def publish() -> None:
        answer = health_pb2.HealthCheckResponse
        status = answer.SERVING if health.is_ready else answer.NOT_SERVING
        for name in ("", *names):
            await probe.set(name, status)

    publishing: set[asyncio.Task[None]] = set()

    def on_change() -> None:
        task = asyncio.get_running_loop().create_task(publish())
        publishing.add(task)
        task.add_done_callback(publishing.discard)

    await publish()
    health.subscribe(on_change)
    try:
        yield bound
    finally:
        await probe.enter_graceful_shutdown()
        await server.stop(grace=shutdown_grace_s)


def _bind(server: grpc.aio.Server, address: str) -> str:
    parsed = parse_address(address)
    if isinstance(parsed, UnixAddress):
        remove_stale_socket(parsed.path)
        target = f"unix:{parsed.path}"
    else:
        target = parsed.bound(parsed.port) if parsed.host else f"[::]:{parsed.port}"
    try:
        port = server.add_insecure_port(target)
    except RuntimeError as error:
        cause = bind_fault(parsed) or str(error)
        raise ConfigurationError(f"cannot listen on {address}: {cause}") from error
    return address if isinstance(parsed, UnixAddress) else parsed.bound(port)
