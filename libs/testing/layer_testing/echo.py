"""A service with a method of each kind, which does what the text of a request tells it.

For tests of the kit: in process through :func:`register`, or as ``python -m layer_testing.echo``.
Messages are ``google.protobuf.StringValue``, so that no proto of ours is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import Field, SecretStr

from layer_kit.errors import NotFoundError, UnavailableError
from layer_kit.process import Addresses, run_service
from layer_kit.rpc.context import REQUEST_ID_HEADER, outgoing_metadata
from layer_kit.service import service_frame
from layer_kit.settings import ServiceSettings

NAME: Final = "layer.echo.v1.EchoService"
SECRET: Final = "what the log alone may know"  # noqa: S105 -- that it stays inside is what is tested
FLOOD: Final = "x" * 100_000
Context = grpc.aio.ServicerContext[StringValue, StringValue]


class EchoSettings(ServiceSettings):
    """Settings of the echo service."""

    service: ClassVar[str] = "echo"

    grpc_address: str = Field("127.0.0.1:0", description="Where the gRPC server listens.")
    token: SecretStr = Field(SecretStr(""), description="A secret that nothing uses.")


def _describe() -> FileDescriptorProto:
    file = FileDescriptorProto(
        name="layer/echo/v1/echo.proto",
        package="layer.echo.v1",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    service = file.service.add(name="EchoService")
    for name in ("Say", "Count", "Join", "Chat"):
        service.method.append(
            MethodDescriptorProto(
                name=name,
                input_type=".google.protobuf.StringValue",
                output_type=".google.protobuf.StringValue",
                client_streaming=name in ("Join", "Chat"),
                server_streaming=name in ("Count", "Chat"),
            )
        )
    return file


FILE: Final = descriptor_pool.Default().AddSerializedFile(_describe().SerializeToString())
SERVICE: Final = FILE.services_by_name["EchoService"]


class Echo:
    """What the methods do.

    Args:
        until_draining: Waits until the process was told to stop.
    """

    def __init__(self, until_draining: Callable[[], Awaitable[object]]) -> None:
        self._until_draining = until_draining

    async def say(self, request: StringValue, context: Context) -> StringValue:
        """Answer one text with one."""
        return StringValue(value=await self._obey(request.value, context))

    async def count(self, request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        """Answer ``started`` and then the text, or without end to ``flood``."""
        yield StringValue(value="started")
        while request.value == "flood":
            yield StringValue(value=FLOOD)
        yield StringValue(value=await self._obey(request.value, context))

    async def join(self, requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        """Answer all texts joined by a space."""
        texts = [await self._obey(request.value, context) async for request in requests]
        return StringValue(value=" ".join(texts))

    async def chat(
        self, requests: AsyncIterator[StringValue], context: Context
    ) -> AsyncIterator[StringValue]:
        """Answer each text with one."""
        async for request in requests:
            yield StringValue(value=await self._obey(request.value, context))

    async def _obey(self, text: str, context: Context) -> str:
        match text:
            case "refuse":
                raise NotFoundError(
                    "WORD_UNKNOWN", "There is no word 'refuse'.", retry_after_s=1.5, word=text
                )
            case "refuse at length":
                word = "é" * 20_000
                raise NotFoundError("WORD_UNKNOWN", f"There is no word '{word}'.", word=word)
            case "crash":
                raise ZeroDivisionError(SECRET)
            case "recover":
                metadata = dict(context.invocation_metadata() or ())
                if "grpc-previous-rpc-attempts" not in metadata:
                    raise UnavailableError("NOT_YET", "The first attempt fails.")
            case "wait":
                await asyncio.Event().wait()
            case "drain":
                await self._until_draining()
            case "context":
                carried = dict(outgoing_metadata())
                return f"{carried.get(REQUEST_ID_HEADER)} {carried.get('traceparent')}"
            case _:
                pass
        return text


def register(echo: Echo) -> Callable[[grpc.aio.Server], None]:
    """Return what registers ``echo`` with a server."""
    codec: Any = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    handlers = {
        "Say": grpc.unary_unary_rpc_method_handler(echo.say, **codec),
        "Count": grpc.unary_stream_rpc_method_handler(echo.count, **codec),
        "Join": grpc.stream_unary_rpc_method_handler(echo.join, **codec),
        "Chat": grpc.stream_stream_rpc_method_handler(echo.chat, **codec),
    }
    generic = grpc.method_handlers_generic_handler(NAME, handlers)
    return lambda server: server.add_generic_rpc_handlers((generic,))


class EchoStub:
    """Calls the methods."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        codec: Any = {
            "request_serializer": StringValue.SerializeToString,
            "response_deserializer": StringValue.FromString,
        }
        self.say = channel.unary_unary(f"/{NAME}/Say", **codec)
        self.count = channel.unary_stream(f"/{NAME}/Count", **codec)
        self.join = channel.stream_unary(f"/{NAME}/Join", **codec)
        self.chat = channel.stream_stream(f"/{NAME}/Chat", **codec)


@asynccontextmanager
async def serving(settings: EchoSettings) -> AsyncIterator[Addresses]:
    """Run the service for the length of the block."""
    draining = asyncio.Event()
    async with service_frame(settings) as frame:
        await frame.serve_grpc(settings.grpc_address, [SERVICE], register(Echo(draining.wait)))
        frame.started()
        frame.health.subscribe(draining.set)
        yield frame.addresses


if __name__ == "__main__":
    run_service(EchoSettings, serving)
