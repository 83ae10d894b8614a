"""One echo service on servers of both kinds, and callers of both kinds, behind one face each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from layer_kit.addresses import parse_address
from layer_kit.errors import ConflictError, LayerError
from layer_kit.rpc.calls import CallMetrics
from layer_kit.rpc.client import open_channel
from layer_kit.rpc.errors import from_rpc_error
from layer_kit.rpc.interceptor import CallInterceptor
from layer_kit.rpc.limits import SERVER_OPTIONS
from layer_streams.client import ClientStream, open_stream
from layer_streams.server import stream_server
from layer_streams.server_stream import ServerStream

METHOD: Final = "/layer.test.Streams/Echo"
DOMAIN: Final = "layer.test"
TIMEOUT_S: Final = 20.0
FAIL: Final = b"fail"
FAILURE: Final = ConflictError(
    "ECHO_FAILED", "100 % lost: \u00fcber\nall", retry_after_s=1.5, count=3
)
CRASH: Final = b"crash"
"""Messages that the service does not give back."""


class Call(Protocol):
    """A call from the outside, of either kind."""

    async def send(self, message: bytes) -> None: ...

    async def receive(self) -> bytes | None:
        """Return the next message, None at the end of a call that went well."""
        ...

    async def finish(self) -> None: ...

    async def cancel(self) -> None: ...


def answer(message: bytes) -> bytes:
    if message == FAIL:
        raise FAILURE
    if message == CRASH:
        raise ZeroDivisionError
    return message


class StreamEcho:
    """The service, as a listener."""

    def __init__(self, stream: ServerStream, metadata: Mapping[str, str]) -> None:
        if metadata.get("x-refuse"):
            raise FAILURE
        self._stream = stream
        self._waiting: list[bytes] = []
        self._has_finished = False
        self.outcome: asyncio.Future[LayerError | None] = asyncio.Future()

    def received(self, message: bytes) -> None:
        self._waiting.append(answer(message))
        self.writable()

    def writable(self) -> None:
        while self._waiting and self._stream.is_writable:
            self._stream.send(self._waiting.pop(0))
        if self._waiting:
            self._stream.hold()
        elif self._has_finished:
            self._stream.end()
        else:
            self._stream.resume()

    def finished(self) -> None:
        self._has_finished = True
        self.writable()

    def ended(self, error: LayerError | None) -> None:
        self.outcome.set_result(error)


class Server:
    """A running server of either kind."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.address = ""
        self.registry = registry
        self.listeners: list[StreamEcho] = []

    def accept(self, stream: ServerStream, metadata: Mapping[str, str]) -> StreamEcho:
        self.listeners.append(StreamEcho(stream, metadata))
        return self.listeners[-1]

    def call_count(self, code: str, method: str = METHOD) -> float | None:
        labels = {"method": method, "code": code}
        return self.registry.get_sample_value("layer_rpc_server_seconds_count", labels)


Serve = Callable[..., AbstractAsyncContextManager[Server]]


@asynccontextmanager
async def stream_echo(address: str, *, shutdown_grace_s: float = 0) -> AsyncIterator[Server]:
    server = Server(CollectorRegistry())
    async with stream_server(
        address=address,
        methods={METHOD: server.accept},
        domain=DOMAIN,
        calls=CallMetrics(server.registry),
        shutdown_grace_s=shutdown_grace_s,
    ) as bound:
        server.address = bound
        yield server


@asynccontextmanager
async def grpc_echo(address: str) -> AsyncIterator[Server]:
    async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        if dict(context.invocation_metadata()).get("x-refuse"):
            raise FAILURE
        async for request in requests:
            yield answer(request)

    server = Server(CollectorRegistry())
    handlers: dict[str, Any] = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    interceptor = CallInterceptor(domain=DOMAIN, calls=CallMetrics(server.registry))
    running = grpc.aio.server(interceptors=[interceptor], options=SERVER_OPTIONS)
    running.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(METHOD.split("/")[1], handlers),)
    )
    port = running.add_insecure_port(address)
    await running.start()
    server.address = address if address.startswith("unix:") else f"127.0.0.1:{port}"
    try:
        yield server
    finally:
        await running.stop(grace=None)


class StreamCall:
    """Ours, as a caller."""

    stream: ClientStream

    def __init__(self) -> None:
        self._can_send = asyncio.Event()
        self._heard: asyncio.Queue[bytes | LayerError | None] = asyncio.Queue()
        self.is_accepted = asyncio.Event()

    async def send(self, message: bytes) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not self.stream.is_writable:
                self._can_send.clear()
                await self._can_send.wait()
        self.stream.send(message)

    async def receive(self) -> bytes | None:
        heard = await asyncio.wait_for(self._heard.get(), TIMEOUT_S)
        if isinstance(heard, LayerError):
            raise heard
        return heard

    async def finish(self) -> None:
        self.stream.finish()

    async def cancel(self) -> None:
        self.stream.cancel()

    def accepted(self) -> None:
        self.is_accepted.set()

    def received(self, message: bytes) -> None:
        self._heard.put_nowait(message)

    def writable(self) -> None:
        self._can_send.set()

    def finished(self) -> None:
        pass

    def ended(self, error: LayerError | None) -> None:
        self._heard.put_nowait(error)
        self._can_send.set()


class GrpcCall:
    """That of grpc."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def send(self, message: bytes) -> None:
        await asyncio.wait_for(self._call.write(message), TIMEOUT_S)

    async def receive(self) -> bytes | None:
        try:
            heard = await asyncio.wait_for(self._call.read(), TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        if heard is not grpc.aio.EOF:
            return bytes(heard)
        assert await self._call.code() is grpc.StatusCode.OK
        return None

    async def finish(self) -> None:
        await self._call.done_writing()

    async def cancel(self) -> None:
        self._call.cancel()


@asynccontextmanager
async def stream_call(
    address: str, method: str = METHOD, metadata: Mapping[str, str] | None = None
) -> AsyncIterator[StreamCall]:
    call = StreamCall()
    call.stream = await open_stream(
        parse_address(address), method, call, metadata=metadata, timeout_s=TIMEOUT_S
    )
    yield call
    call.stream.cancel()


@asynccontextmanager
async def grpc_call(
    address: str, method: str = METHOD, metadata: Mapping[str, str] | None = None
) -> AsyncIterator[GrpcCall]:
    async with open_channel(address, retries=False) as channel:
        yield GrpcCall(channel.stream_stream(method)(metadata=tuple((metadata or {}).items())))


Dial = Callable[..., AbstractAsyncContextManager[Call]]


@pytest.fixture(params=["unix", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path}/s" if request.param == "unix" else "127.0.0.1:0"


@pytest.fixture(params=[stream_echo, grpc_echo], ids=["our_server", "grpc_server"])
def serve(request: pytest.FixtureRequest) -> Serve:
    found: Serve = request.param
    return found


@pytest.fixture(params=[stream_call, grpc_call], ids=["our_client", "grpc_client"])
def dial(request: pytest.FixtureRequest) -> Dial:
    found: Dial = request.param
    return found
