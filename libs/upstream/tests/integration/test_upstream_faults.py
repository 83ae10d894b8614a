from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from layer_kit.errors import DeadlineError, LayerError, UpstreamError
from layer_upstream import UpstreamClient, UpstreamLimits

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- nothing announces the pool's state
            await asyncio.sleep(0.005)


async def reason_of(request: Awaitable[object]) -> str:
    with pytest.raises(LayerError) as caught:
        await request
    return caught.value.reason


def serve_once_then_close(answered: list[bytes]) -> Callable[[Any], Awaitable[None]]:
    """Close the first connection on its second request, unanswered; serve the others."""

    async def script(dialogue: Any) -> None:
        answered.append((await dialogue.request())[0])
        await dialogue.say(OK)
        await dialogue.request()
        if dialogue.index > 0:
            await dialogue.say(OK)
            await dialogue.answer_all()

    return script


@pytest.mark.parametrize(
    ("method", "idempotent"), [(b"GET", None), (b"DELETE", None), (b"POST", True)]
)
async def test_a_request_whose_kept_connection_was_gone_is_sent_again(
    serve: Any, connect: Any, method: bytes, *, idempotent: bool | None
) -> None:
    answered: list[bytes] = []
    registry = CollectorRegistry()
    server = await serve(serve_once_then_close(answered))
    client = connect(server, registry=registry)
    for _ in range(2):
        answer = await client.request(method, b"/", [], b"body", idempotent=idempotent)
        assert answer.body == b"ok"
    assert len(server.dialogues) == 2
    assert registry.get_sample_value("layer_upstream_replays_total") == 1


@pytest.mark.parametrize(("method", "idempotent"), [(b"POST", None), (b"GET", False)])
async def test_a_request_that_may_have_been_applied_is_not_sent_again(
    serve: Any, connect: Any, method: bytes, *, idempotent: bool | None
) -> None:
    server = await serve(serve_once_then_close([]))
    client = connect(server)
    await client.request(method, b"/", [], idempotent=idempotent)
    second = client.request(method, b"/", [], idempotent=idempotent)
    assert await reason_of(second) == "UPSTREAM_CLOSED"
    assert len(server.dialogues) == 1


async def test_a_new_connection_that_closes_unanswered_is_not_tried_again(
    serve: Any, connect: Any
) -> None:
    server = await serve(lambda dialogue: dialogue.request())
    assert await reason_of(connect(server).request(b"GET", b"/", [])) == "UPSTREAM_CLOSED"
    assert len(server.dialogues) == 1


@pytest.mark.parametrize(
    "beginning", [b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r"]
)
async def test_a_request_that_has_part_of_an_answer_is_not_sent_again(
    serve: Any, connect: Any, beginning: bytes
) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(OK)
        await dialogue.request()
        await dialogue.say(beginning)

    server = await serve(script)
    client = connect(server)
    await client.request(b"GET", b"/", [])
    assert await reason_of(client.request(b"GET", b"/", [])) == "UPSTREAM_CLOSED"
    assert len(server.dialogues) == 1


@pytest.mark.parametrize("parting", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"])
async def test_an_idle_connection_that_the_server_ends_is_not_used(
    serve: Any, connect: Any, parting: bytes
) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(OK)
        if dialogue.index == 0:
            await dialogue.say(parting)
        else:
            await dialogue.answer_all()

    server = await serve(script)
    client = connect(server)
    await client.request(b"POST", b"/", [])
    await until(lambda: client._pool.open_count == 0)
    assert (await client.request(b"POST", b"/", [])).body == b"ok"


async def test_bytes_after_an_answer_never_become_the_next_answer(serve: Any, connect: Any) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        await dialogue.wait_for_close()

    server = await serve(script)
    client = connect(server)
    assert [(await client.request(b"GET", b"/", [])).body for _ in range(3)] == [b"ok"] * 3
    assert len(server.dialogues) == 3


async def test_an_answer_that_comes_before_the_request_is_sent_costs_the_connection(
    serve: Any, connect: Any
) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.reader.readuntil(b"\r\n\r\n")
        await dialogue.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await asyncio.Event().wait()

    server = await serve(script)
    client = connect(server)
    answer = await client.request(b"POST", b"/", [], bytes(64 * 1024 * 1024))
    assert (answer.status, answer.body) == (413, b"big")
    assert client._pool.open_count == 0


async def test_junk_is_a_protocol_error_and_closes_the_connection(serve: Any, connect: Any) -> None:
    client = connect(await serve(lambda d: d.answer_all(b"SSH-2.0-OpenSSH\r\n")))
    assert await reason_of(client.request(b"GET", b"/", [])) == "UPSTREAM_PROTOCOL_ERROR"
    assert client._pool.open_count == 0


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = UpstreamClient(f"http://127.0.0.1:{unused.getsockname()[1]}", UpstreamLimits())
        assert await reason_of(client.request(b"GET", b"/", [])) == "UPSTREAM_UNREACHABLE"
    client = UpstreamClient("unix:/nowhere/at/all", UpstreamLimits())
    assert await reason_of(client.request(b"GET", b"/", [])) == "UPSTREAM_UNREACHABLE"


async def test_silence_ends_in_a_timeout(serve: Any, connect: Any, clock: Any) -> None:
    heard = asyncio.Event()

    async def script(dialogue: Any) -> None:
        await dialogue.request()
        heard.set()
        await dialogue.wait_for_close()

    client = connect(await serve(script), monotonic=clock, read_timeout_s=7)
    request = asyncio.create_task(client.request(b"GET", b"/", []))
    await heard.wait()
    (connection,) = client._pool._connections
    await until(lambda: not connection._has_progressed)
    clock.now_s += 7.1
    assert await reason_of(request) == "UPSTREAM_TIMEOUT"
    assert client._pool.open_count == 0


async def test_an_answer_that_keeps_coming_is_ended_by_the_total_time_only(
    serve: Any, connect: Any, clock: Any
) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n")
        while True:
            await dialogue.say(b"x")
            clock.now_s += 1
            await asyncio.sleep(0.06)

    client = connect(await serve(script), monotonic=clock, read_timeout_s=5, total_timeout_s=9)
    started_s = clock.now_s
    request = client.request(b"GET", b"/", [])
    assert await reason_of(request) == "UPSTREAM_TIMEOUT"
    assert 9 <= clock.now_s - started_s <= 12


async def test_a_consumer_that_stops_taking_a_stream_is_cut_off(
    serve: Any, connect: Any, clock: Any
) -> None:
    server = await serve(
        lambda d: d.answer_all(
            b"HTTP/1.1 200 OK\r\ncontent-length: 40000000\r\n\r\n" + bytes(40_000_000)
        )
    )
    client = connect(server, monotonic=clock, read_timeout_s=5, buffer_bytes_max=1024)
    answer = await client.request(b"GET", b"/", [], stream=True)
    assert answer._rest is not None
    await until(lambda: answer._rest.is_paused)
    # Two ticks see that nothing has moved in between.
    connection = next(iter(client._pool._connections))
    await until(lambda: not connection._has_progressed)
    clock.now_s += 5.1
    await until(lambda: client._pool.open_count == 0)
    with pytest.raises(DeadlineError):
        await answer.read(50_000_000)


async def test_connecting_has_its_own_timeout() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.socket() as first, socket.socket() as second:
            # A full backlog makes the kernel drop what comes next.
            for filler in (first, second):
                filler.settimeout(0)
                filler.connect_ex(address)
            client = UpstreamClient(
                f"http://127.0.0.1:{address[1]}", UpstreamLimits(connect_timeout_s=0.2)
            )
            assert await reason_of(client.request(b"GET", b"/", [])) == "UPSTREAM_TIMEOUT"
            await client.aclose()


async def test_an_idle_connection_is_closed_in_time(serve: Any, connect: Any, clock: Any) -> None:
    closed = asyncio.Event()

    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(OK)
        await dialogue.wait_for_close()
        closed.set()

    client = connect(await serve(script), monotonic=clock, idle_timeout_s=30)
    await client.request(b"GET", b"/", [])
    connection = client._pool._idle[0]
    await until(lambda: not connection._has_progressed)
    clock.now_s += 30.1
    await closed.wait()
    await until(lambda: client._pool._tick is None)


async def test_a_handshake_that_is_cut_is_unreachable(serve: Any) -> None:
    async def script(dialogue: Any) -> None:
        dialogue.writer.close()

    server = await serve(script)
    client = UpstreamClient(server.origin.replace("http:", "https:"), UpstreamLimits())
    with pytest.raises(UpstreamError) as caught:
        await client.request(b"GET", b"/", [])
    assert caught.value.reason == "UPSTREAM_UNREACHABLE"
