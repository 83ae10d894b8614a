"""Requests that are worked out once, and begun without a task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from layer_kit.errors import InvalidRequestError, LayerError
from layer_upstream import UpstreamClient, UpstreamLimits, UpstreamResponse
from layer_upstream.connection import Connection

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Noting:
    """Notes what it is told, and whether that was while a request was being begun."""

    def __init__(self) -> None:
        self.ends: list[UpstreamResponse | LayerError] = []
        self.told = asyncio.Event()

    def answered(self, answer: UpstreamResponse, /) -> None:
        self.ends.append(answer)
        self.told.set()

    def failed(self, error: LayerError, /) -> None:
        self.ends.append(error)
        self.told.set()


class Watching:
    def __init__(self) -> None:
        self.notes: list[bool] = []

    def note(self, *, is_reachable: bool) -> None:
        self.notes.append(is_reachable)


async def test_a_call_is_sent_as_often_as_it_is_begun(serve: Any, connect: Any) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def script(dialogue: Any) -> None:
        while True:
            seen.append(await dialogue.request())
            await dialogue.say(OK)

    client = connect(await serve(script), prefix="/base")
    call = client.call(b"POST", b"/a?b=c", [(b"x-a", b"1")], idempotent=True)
    for body in ((b"one",), (b"t", memoryview(b"wo")), ()):
        receiver = Noting()
        call.begin(body, receiver)
        assert not receiver.ends  # nobody is told while it is being begun
        await receiver.told.wait()
        (answer,) = receiver.ends
        assert isinstance(answer, UpstreamResponse)
        assert answer.body == b"ok"

    heads = [head for head, _ in seen]
    assert [body for _, body in seen] == [b"one", b"two", b""]
    assert all(head.startswith(b"POST /base/a?b=c HTTP/1.1\r\n") for head in heads)
    assert all(b"\r\nx-a: 1\r\n" in head for head in heads)
    assert b"content-length: 0\r\n" in heads[2]


async def test_a_large_body_waits_for_a_server_that_reads_nothing_and_arrives_whole(
    serve: Any, connect: Any
) -> None:
    body = [bytes([at]) * 3_000_000 for at in range(12)]
    bodies: list[bytes] = []
    may_read = asyncio.Event()

    async def script(dialogue: Any) -> None:
        dialogue.writer.transport.pause_reading()
        await may_read.wait()
        dialogue.writer.transport.resume_reading()
        for _ in range(2):
            bodies.append((await dialogue.request())[1])
            await dialogue.say(OK)

    server = await serve(script)
    client = connect(server, connections_max=1)
    large = asyncio.create_task(client.request(b"POST", b"/", [], body, idempotent=False))
    async with asyncio.timeout(10):
        while not any(map(is_held_back, client._pool._connections)):  # noqa: ASYNC110 -- a state
            await asyncio.sleep(0.005)
    may_read.set()
    assert (await large).body == b"ok"
    assert (await client.request(b"POST", b"/", [], b"small", idempotent=False)).body == b"ok"
    assert bodies == [b"".join(body), b"small"]
    assert len(server.dialogues) == 1


def is_held_back(connection: Connection) -> bool:
    """Tell whether a part of a body has left and the rest waits for room."""
    outbox = connection._outbox
    return outbox is not None and outbox._is_full and outbox.left_bytes > 0


async def test_whoever_is_told_may_begin_the_next_where_there_is_one_connection(
    serve: Any, connect: Any
) -> None:
    server = await serve(lambda dialogue: dialogue.answer_all())
    client = connect(server, connections_max=1)
    call = client.call(b"POST", b"/", [], idempotent=True)
    ended = asyncio.Event()
    left = 100

    class Again(Noting):
        def answered(self, answer: UpstreamResponse, /) -> None:
            nonlocal left
            left -= 1
            if left:
                call.begin((b"x",), self)
            else:
                ended.set()

    call.begin((b"x",), Again())
    async with asyncio.timeout(10):
        await ended.wait()
    assert len(server.dialogues) == 1


async def test_the_watcher_hears_of_every_end(serve: Any, connect: Any) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(OK)
        await dialogue.request()

    client, watching = connect(await serve(script)), Watching()
    client.watch(watching)
    call = client.call(b"POST", b"/", [], idempotent=False)
    for _ in range(2):
        receiver = Noting()
        call.begin((b"x",), receiver)
        await receiver.told.wait()
    assert watching.notes == [True, False]


async def test_what_would_break_the_framing_is_refused_before_anything_is_sent(
    serve: Any, connect: Any
) -> None:
    client = connect(await serve(lambda dialogue: dialogue.answer_all()))
    with pytest.raises(InvalidRequestError):
        client.call(b"POST", b"/", [(b"a", b"b\r\nc: d")], idempotent=False)


async def test_whatever_prevents_a_call_is_told_to_its_receiver() -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    client = UpstreamClient("http://no..name", UpstreamLimits())  # which is no name to look up
    receiver = Noting()
    client.call(b"POST", b"/", [], idempotent=True).begin((b"x",), receiver)
    async with asyncio.timeout(10):
        await receiver.told.wait()
    (error,) = receiver.ends
    assert isinstance(error, LayerError)
    assert error.reason == "INTERNAL"
    await asyncio.sleep(0)
    assert [type(context["exception"]) for context in lost] == [UnicodeError]
    await client.aclose()


async def test_closing_the_client_tells_everybody_once(serve: Any, connect: Any) -> None:
    async def script(dialogue: Any) -> None:
        await dialogue.request()
        await dialogue.say(OK)
        await dialogue.wait_for_close()

    client = connect(await serve(script), connections_max=2)
    call = client.call(b"POST", b"/", [], idempotent=True)
    first = Noting()
    call.begin((b"x",), first)
    await first.told.wait()
    receivers = [Noting() for _ in range(5)]
    for receiver in receivers:  # one over a connection at hand, one being dialled, three waiting
        call.begin((b"x",), receiver)
    await asyncio.sleep(0)
    await client.aclose()
    for receiver in receivers:
        await receiver.told.wait()
        (error,) = receiver.ends
        assert isinstance(error, LayerError)
        assert error.reason == "UPSTREAM_CLIENT_CLOSED"
