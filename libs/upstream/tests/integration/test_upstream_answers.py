from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_kit.errors import UpstreamError
from layer_upstream import UpstreamClient, UpstreamLimits

KIB = 1024
CLOSE_DELIMITED = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


def with_length(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def test_a_request_arrives_and_its_answer_comes_back(serve: Any, connect: Any) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def script(dialogue: Any) -> None:
        seen.set_result(await dialogue.request())
        await dialogue.say(
            b"HTTP/1.1 429 Slow Down\r\nContent-Encoding: gzip\r\nRetry-After: 1\r\n"
            b"Connection: keep-alive\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00"
        )

    client = connect(await serve(script), prefix="/base")
    answer = await client.request(
        b"POST", b"/v2/n%20s?a=b", [(b"Authorization", b"Bearer k")], b"{}"
    )
    head, body = await seen
    assert head.startswith(b"POST /base/v2/n%20s?a=b HTTP/1.1\r\nhost: 127.0.0.1:")
    assert head.endswith(b"\r\nauthorization: Bearer k\r\ncontent-length: 2\r\n\r\n")
    assert body == b"{}"
    assert (answer.status, answer.body, answer.is_complete) == (429, b"\x1f\x8b\x00", True)
    assert answer.header(b"retry-after") == b"1"
    assert answer.header(b"connection") is None
    assert answer.header(b"content-encoding") == b"gzip"
    assert [piece async for piece in answer.iter_body()] == []


@pytest.mark.parametrize("pieces", [[b"a" * 10, b"b" * 10], [b"x" * 300 * KIB, b"", b"y"]])
async def test_a_body_in_pieces_arrives_as_one(
    serve: Any, connect: Any, pieces: list[bytes]
) -> None:
    async def script(dialogue: Any) -> None:
        _, body = await dialogue.request()
        await dialogue.say(with_length(body))

    answer = await connect(await serve(script)).request(b"PUT", b"/", [], pieces)
    assert answer.body == b"".join(pieces)


async def test_a_unix_socket_is_an_origin(serve: Any, connect: Any) -> None:
    server = await serve(lambda dialogue: dialogue.answer_all(), unix=True)
    answer = await connect(server).request(b"GET", b"/", [])
    assert answer.body == b"ok"


async def test_one_connection_serves_all_framings_in_turn(serve: Any, connect: Any) -> None:
    answers = [
        b"HTTP/1.1 100 Continue\r\n\r\n" + with_length(b"one"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"tw") + chunk(b"o"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 50\r\n\r\n",
        with_length(b"six"),
    ]
    answers[1] += chunk(b"")

    async def script(dialogue: Any) -> None:
        for answer in answers:
            await dialogue.request()
            await dialogue.say(answer)
        await dialogue.wait_for_close()

    server = await serve(script)
    client = connect(server)
    methods = [b"GET", b"GET", b"HEAD", b"DELETE", b"GET", b"GET"]
    bodies = [(await client.request(method, b"/", [])).body for method in methods]
    assert bodies == [b"one", b"two", b"", b"", b"", b"six"]
    assert len(server.dialogues) == 1


async def test_the_end_of_the_connection_ends_a_body_of_no_stated_length(
    serve: Any, connect: Any
) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(CLOSE_DELIMITED + b"half ")
        await dialogue.say(b"whole")
        dialogue.writer.write_eof()
        await dialogue.wait_for_close()

    server = await serve(script)
    client = connect(server)
    for _ in range(2):
        assert (await client.request(b"GET", b"/", [])).body == b"half whole"
    assert len(server.dialogues) == 2


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_where_the_server_cuts_its_writes_does_not_matter(data: st.DataObject) -> None:
    chunks = data.draw(st.lists(st.binary(min_size=1, max_size=50), max_size=4))
    wire = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: 1\r\n\r\n"
    wire += b"".join(map(chunk, [*chunks, b""]))
    cuts = sorted(data.draw(st.lists(st.integers(1, len(wire)), max_size=4)))

    async def exchange() -> list[bytes]:
        closed = asyncio.Event()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(2):
                await reader.readuntil(b"\r\n\r\n")
                for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
                    writer.write(wire[start:end])
                    # A turn of the loop in between makes for separate reads.
                    await asyncio.sleep(0)
            writer.close()
            await writer.wait_closed()
            closed.set()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = UpstreamClient(f"http://127.0.0.1:{port}", UpstreamLimits(connections_max=1))
        bodies = [(await client.request(b"GET", b"/", [])).body for _ in range(2)]
        await client.aclose()
        await closed.wait()
        server.close()
        return bodies

    assert asyncio.run(exchange()) == [b"".join(chunks)] * 2


async def test_a_large_answer_is_given_whole_unless_streaming_is_asked_for(
    serve: Any, connect: Any
) -> None:
    body = bytes(range(256)) * 4 * KIB
    client = connect(await serve(lambda d: d.answer_all(with_length(body))), buffer_bytes_max=KIB)
    answer = await client.request(b"GET", b"/", [])
    assert (answer.is_complete, answer.body) == (True, body)


async def test_a_streamed_answer_is_its_beginning_and_the_rest(serve: Any, connect: Any) -> None:
    body = bytes(range(256)) * 16 * KIB
    server = await serve(lambda d: d.answer_all(with_length(body)))
    client = connect(server, buffer_bytes_max=64 * KIB)
    answer = await client.request(b"GET", b"/", [], stream=True)
    assert not answer.is_complete
    rest = [piece async for piece in answer.iter_body()]
    assert answer.body + b"".join(rest) == body
    again = await client.request(b"GET", b"/", [], stream=True)
    assert await again.read(len(body)) == body
    assert len(server.dialogues) == 1


async def test_a_small_answer_is_whole_even_when_streaming_is_allowed(
    serve: Any, connect: Any
) -> None:
    client = connect(await serve(lambda d: d.answer_all(with_length(b"small"))))
    answer = await client.request(b"GET", b"/", [], stream=True)
    assert (answer.is_complete, answer.body) == (True, b"small")
    assert await answer.read(5) == b"small"


async def test_an_answer_that_trickles_is_handed_over_before_its_end(
    serve: Any, connect: Any
) -> None:
    may_end = asyncio.Event()

    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await dialogue.say(chunk(b"first"))
        await may_end.wait()
        await dialogue.say(chunk(b" last") + chunk(b""))
        await dialogue.answer_all()

    server = await serve(script)
    client = connect(server)
    answer = await client.request(b"GET", b"/", [], stream=True)
    assert (answer.is_complete, answer.body) == (False, b"first")
    may_end.set()
    assert [piece async for piece in answer.iter_body()] == [b" last"]
    assert (await client.request(b"GET", b"/", [])).body == b"ok"
    assert len(server.dialogues) == 1


async def test_a_small_answer_of_known_length_is_waited_for(serve: Any, connect: Any) -> None:
    looks_count = 0
    has_ticked = asyncio.Event()

    def monotonic() -> float:
        nonlocal looks_count
        looks_count += 1
        if looks_count == 6:
            has_ticked.set()
        return 1000.0

    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf")
        await has_ticked.wait()
        await dialogue.say(b"half")
        await dialogue.wait_for_close()

    client = connect(await serve(script), monotonic=monotonic)
    answer = await client.request(b"GET", b"/", [], stream=True)
    assert (answer.is_complete, answer.body) == (True, b"halfhalf")


async def test_a_slow_consumer_holds_back_the_server(serve: Any, connect: Any) -> None:
    body = bytes(64 * 1024 * KIB)
    server = await serve(lambda d: d.answer_all(with_length(body)))
    client = connect(server, buffer_bytes_max=128 * KIB)
    answer = await client.request(b"GET", b"/", [], stream=True)
    connection = next(iter(client._pool._connections))
    async with asyncio.timeout(10):
        while connection._transport.is_reading():  # noqa: ASYNC110 -- nothing announces a pause
            await asyncio.sleep(0.005)
    assert connection._reader.body_bytes < len(body) // 8
    assert server.dialogues[0].writer.transport.get_write_buffer_size() > 0
    assert await answer.read(len(body)) == body
    assert (await client.request(b"GET", b"/", [], stream=True)).status == 200
    assert len(server.dialogues) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_reading_more_than_allowed_is_an_error(
    serve: Any, connect: Any, *, stream: bool
) -> None:
    server = await serve(lambda d: d.answer_all(with_length(b"x" * 100 * KIB)))
    client = connect(server, buffer_bytes_max=KIB)
    answer = await client.request(b"GET", b"/", [], stream=stream)
    with pytest.raises(UpstreamError) as caught:
        await answer.read(50 * KIB)
    assert caught.value.reason == "UPSTREAM_RESPONSE_TOO_LARGE"


async def test_an_answer_beyond_the_hard_limit_must_be_streamed(serve: Any, connect: Any) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(b"HTTP/1.1 200 OK\r\ncontent-length: 536870913\r\n\r\nx")
        await dialogue.wait_for_close()

    client = connect(await serve(script))
    with pytest.raises(UpstreamError) as caught:
        await client.request(b"GET", b"/", [])
    assert caught.value.reason == "UPSTREAM_RESPONSE_TOO_LARGE"
    answer = await client.request(b"GET", b"/", [], stream=True)
    assert answer.status == 200
    await answer.aclose()


async def test_leaving_a_streamed_answer_early_closes_its_connection(
    serve: Any, connect: Any
) -> None:
    server = await serve(lambda d: d.answer_all(with_length(b"x" * 1024 * KIB)))
    client = connect(server, buffer_bytes_max=KIB)
    for leave_by_break in (True, False):
        answer = await client.request(b"GET", b"/", [], stream=True)
        if leave_by_break:
            pieces = answer.iter_body()
            await anext(pieces)
            await pieces.aclose()
        await answer.aclose()
        await answer.aclose()
    assert client._pool.open_count == 0
    assert (await client.request(b"GET", b"/", [])).is_complete
    assert len(server.dialogues) == 3


async def test_a_streamed_answer_that_is_cut_fails_after_what_came(
    serve: Any, connect: Any
) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nsome")

    client = connect(await serve(script), buffer_bytes_max=KIB)
    answer = await client.request(b"GET", b"/", [], stream=True)
    with pytest.raises(UpstreamError) as caught:
        await answer.read(99999)
    assert caught.value.reason == "UPSTREAM_CLOSED"
    assert answer.body == b"some"


async def test_tls_is_spoken_to_an_https_origin(
    serve: Any, connect: Any, tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server_side, client_side = tls_contexts
    body = b"z" * 700 * KIB
    server = await serve(lambda d: d.answer_all(with_length(body)), tls=server_side)
    client = connect(server, ssl_context=client_side, buffer_bytes_max=100 * KIB)
    assert (await client.request(b"POST", b"/", [], b"y" * 300 * KIB)).body == body
    answer = await client.request(b"GET", b"/", [], stream=True)
    assert not answer.is_complete
    assert await answer.read(len(body)) == body
    assert len(server.dialogues) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    serve: Any, connect: Any, tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server = await serve(lambda d: d.answer_all(), tls=tls_contexts[0])
    with pytest.raises(UpstreamError, match="certificate") as caught:
        await connect(server).request(b"GET", b"/", [])
    assert caught.value.reason == "UPSTREAM_UNREACHABLE"


async def test_a_tls_connection_cut_short_does_not_pass_for_the_end_of_a_body(
    serve: Any, connect: Any, tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(CLOSE_DELIMITED + b"half")
        dialogue.writer.transport.abort()

    server_side, client_side = tls_contexts
    client = connect(await serve(script, tls=server_side), ssl_context=client_side)
    with pytest.raises(UpstreamError) as caught:
        await client.request(b"GET", b"/", [])
    assert caught.value.reason == "UPSTREAM_CLOSED"
