"""Our client and grpc's, on our server and on grpc's: nobody can tell which is which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from layer_kit.errors import ConflictError, InternalError, LayerError, UnsupportedError

METHOD = "/layer.test.Streams/Echo"


class Call(Protocol):
    async def send(self, message: bytes) -> None: ...
    async def receive(self) -> bytes | None: ...
    async def finish(self) -> None: ...
    async def cancel(self) -> None: ...


class Server(Protocol):
    address: str

    def call_count(self, code: str, method: str = METHOD) -> float | None: ...


Dial = Callable[..., AbstractAsyncContextManager[Call]]


@pytest.fixture
async def server(
    serve: Callable[[str], AbstractAsyncContextManager[Server]], address: str
) -> AsyncIterator[Server]:
    async with serve(address) as server:
        yield server


async def counted(server: Server, *codes: str) -> float:
    """Return how often calls ended with one of ``codes``, once one has."""
    async with asyncio.timeout(10):
        while not (count := sum(server.call_count(code) or 0 for code in codes)):  # noqa: ASYNC110
            await asyncio.sleep(0)  # nothing tells when a metric changes
    return count


async def test_messages_of_every_size_come_back_as_they_were(server: Server, dial: Dial) -> None:
    sizes = [0, 1, 300, 16_378, 16_379, 16_380, 65_530, 70_000, 1_100_000, 5_000_000]
    messages = [bytes([number]) * size for number, size in enumerate(sizes)]
    async with dial(server.address) as call:
        for message in messages:
            await call.send(message)
            assert await call.receive() == message
        await call.finish()
        assert await call.receive() is None
    assert await counted(server, "OK") == 1


async def test_many_messages_at_once_keep_their_order(server: Server, dial: Dial) -> None:
    messages = [b"%d-" % number * (number % 700) for number in range(3000)]

    async def send() -> None:
        for message in messages:
            await call.send(message)
        await call.finish()

    async with dial(server.address) as call:
        sending = asyncio.create_task(send())
        received = [await call.receive() for _ in messages]
        assert await call.receive() is None
        await sending
    assert received == messages


async def test_more_than_every_window_passes_in_both_directions(server: Server, dial: Dial) -> None:
    message = b"w" * 200_000

    async def send() -> None:
        for _ in range(100):
            await call.send(message)

    async with dial(server.address) as call:
        sending = asyncio.create_task(send())
        for _ in range(100):
            assert await call.receive() == message
        await sending


async def test_an_error_arrives_with_its_type_reason_text_and_pause(
    server: Server, dial: Dial
) -> None:
    async with dial(server.address) as call:
        await call.send(b"first")
        assert await call.receive() == b"first"
        await call.send(b"fail")
        with pytest.raises(ConflictError) as raised:
            await call.receive()
    error: LayerError = raised.value
    assert error.reason == "ECHO_FAILED"
    assert error.message == "100 % lost: über\nall"
    assert error.metadata == {"count": "3"}
    assert error.retry_after_s == 1.5
    assert await counted(server, "ABORTED") == 1


async def test_a_call_is_refused_before_anything_is_sent(server: Server, dial: Dial) -> None:
    async with dial(server.address, metadata={"x-refuse": "1"}) as call:
        with pytest.raises(ConflictError, match="100 % lost"):
            await call.receive()


async def test_a_crash_of_the_service_is_an_internal_error_without_details(
    server: Server, dial: Dial
) -> None:
    async with dial(server.address) as call:
        await call.send(b"crash")
        with pytest.raises(InternalError, match="Quote the request id"):
            await call.receive()
    assert await counted(server, "INTERNAL") == 1


async def test_a_method_that_is_not_served_is_told_as_such(server: Server, dial: Dial) -> None:
    async with dial(server.address, "/layer.test.Streams/Nothing") as call:
        with pytest.raises(UnsupportedError):
            await call.receive()


async def test_a_caller_that_leaves_is_heard_of(server: Server, dial: Dial) -> None:
    async with dial(server.address) as call:
        await call.send(b"first")
        assert await call.receive() == b"first"
        await call.cancel()
        # A stream of grpc's own ends without an error when its caller is gone.
        assert await counted(server, "CANCELLED", "OK") == 1


async def test_metadata_of_a_caller_reaches_the_service(server: Server, dial: Dial) -> None:
    fields: Mapping[str, str] = {"x-request-id": "req_1", "x-empty": ""}
    async with dial(server.address, metadata=fields) as call:
        await call.finish()
        assert await call.receive() is None
