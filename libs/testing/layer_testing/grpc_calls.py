"""What tests ask of any gRPC server: its health, its reflection, and its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from layer_kit.errors import LayerError
from layer_kit.rpc.errors import from_rpc_error

CALL_S_MAX: Final = 10.0


async def is_serving(channel: grpc.aio.Channel, service: str = "") -> bool:
    """Ask ``grpc.health.v1`` whether ``service``, by default the whole server, is serving."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=CALL_S_MAX)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def reflected_services(channel: grpc.aio.Channel) -> set[str]:
    """Return the full names of the services that server reflection lists."""

    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="*")

    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
    async for answer in stub.ServerReflectionInfo(ask(), timeout=CALL_S_MAX):
        return {service.name for service in answer.list_services_response.service}
    raise AssertionError("reflection closed its stream without an answer")


async def errors_of_all(
    channel: grpc.aio.Channel, services: Sequence[ServiceDescriptor]
) -> dict[str, LayerError]:
    """Call every method with an empty request; return the errors by ``service/method``."""
    return {
        f"{service.full_name}/{method.name}": await _error_of(channel, service, method)
        for service in services
        for method in service.methods
    }


async def _error_of(
    channel: grpc.aio.Channel, service: ServiceDescriptor, method: MethodDescriptor
) -> LayerError:
    make: Callable[..., Any] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    request = GetMessageClass(method.input_type)()
    call = make(
        f"/{service.full_name}/{method.name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )(_once(request) if method.client_streaming else request, timeout=CALL_S_MAX)
    try:
        if method.server_streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError(f"{method.full_name} answered without an error")


async def _once(request: object) -> AsyncIterator[object]:
    yield request
