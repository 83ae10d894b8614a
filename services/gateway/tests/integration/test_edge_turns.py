"""How a connection takes turns: errands, its own task, and what its caller does meanwhile."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from layer_gateway.http import gathering, memory
from layer_gateway.http.answers import WholeAnswer
from layer_gateway.http.budget import BodyBudget
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.heads import Head
from layer_gateway.http.memory import MemoryRelease
from layer_gateway.http.protocol import EdgeProtocol
from layer_gateway.http.server import EdgeServer
from layer_testing.edge_calls import eventually

KEEPALIVE_S = 0.2
WAIT_S_MAX = 10.0


def request(path: str, *more: str, version: str = "1.1", body: str = "x") -> bytes:
    fields = ["host: edge.test", f"content-length: {len(body)}", *more]
    lines = (f"POST {path} HTTP/{version}", *fields, "", body)
    return "\r\n".join(lines).encode()


@dataclass
class Server:
    """Begins errands for paths under ``/errand``, and ends them when a test says so."""

    address: tuple[str, int] = ("", 0)
    begun: list[EdgeRequest] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    callers: list[Caller] = field(default_factory=list)
    trimmed: threading.Event = field(default_factory=threading.Event)

    def may_begin(self, head: Head, /) -> bool:
        return head.path.startswith("/errand")

    def begin(self, request: EdgeRequest, /) -> bool:
        if not self.may_begin(request.head):
            return False
        self.begun.append(request)
        self.came.set()
        return True

    async def __call__(self, request: EdgeRequest, /) -> web.StreamResponse:
        self.paths.append(request.head.path)
        return said(request)

    async def errand(self) -> EdgeRequest:
        """Return the errand that was begun first and is not ended."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not self.begun:
                self.came.clear()
                await self.came.wait()
        return self.begun.pop(0)

    async def end(self) -> None:
        one = await self.errand()
        one.protocol.end_errand(one, said(one))

    async def connect(self) -> Caller:
        caller = Caller(*await asyncio.open_connection(*self.address))
        self.callers.append(caller)
        return caller


def said(request: EdgeRequest) -> WholeAnswer:
    return WholeAnswer(200, (), request.head.path.encode())


@dataclass
class Caller:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def told(self) -> str:
        """Return what the next answer says."""
        async with asyncio.timeout(WAIT_S_MAX):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            return (await self.reader.readexactly(length)).decode()

    async def rest(self) -> bytes:
        """Return what comes until the other side closes the connection."""
        async with asyncio.timeout(WAIT_S_MAX):
            return await self.reader.read(-1)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    edge = EdgeServer(
        server,
        patience_s=2 * KEEPALIVE_S,
        budget=BodyBudget(1024 * 1024),
        release=MemoryRelease(server.trimmed.set),
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
    )
    listening = await asyncio.get_running_loop().create_server(edge, "127.0.0.1", 0)
    server.address = listening.sockets[0].getsockname()
    yield server
    for caller in server.callers:
        caller.writer.close()
    listening.close()
    edge.pre_shutdown()
    await edge.shutdown(WAIT_S_MAX)


async def test_an_errand_may_take_longer_than_a_connection_is_kept(server: Server) -> None:
    caller = await server.connect()
    for path in ("/errand/1", "/errand/2"):
        caller.send(request(path))
        one = await server.errand()
        await asyncio.sleep(3 * KEEPALIVE_S)  # beyond the patience with heads, too
        one.protocol.end_errand(one, said(one))
        assert await caller.told() == path
    assert await caller.rest() == b""  # once nothing comes for long enough
    idle = await server.connect()
    assert await idle.rest() == b""


@pytest.mark.parametrize(("lines", "version"), [(("connection: close",), "1.1"), ((), "1.0")])
async def test_a_connection_that_is_not_to_be_kept_is_closed(
    server: Server, lines: tuple[str, ...], version: str
) -> None:
    caller = await server.connect()
    caller.send(request("/errand", *lines, version=version))
    if version == "1.1":
        await server.end()
    assert await caller.told() == "/errand"
    assert await caller.rest() == b""
    assert server.paths == ([] if version == "1.1" else ["/errand"])


async def test_what_comes_during_an_errand_is_served_after_it(server: Server) -> None:
    caller = await server.connect()
    caller.send(request("/errand/1"))
    first = await server.errand()
    caller.send(request("/errand/2"))
    await asyncio.sleep(0.02)
    caller.send(request("/3") + request("/errand/4"))
    await asyncio.sleep(0.02)
    assert server.paths == []
    first.protocol.end_errand(first, said(first))
    told = [await caller.told() for _ in range(4)]
    assert told == ["/errand/1", "/errand/2", "/3", "/errand/4"]
    assert server.paths == told[1:]  # those that waited take the ordinary way
    assert not server.begun


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a request gathered for as long as it takes."""
    monkeypatch.setattr(gathering, "GATHERING_S_MAX", 10 * WAIT_S_MAX)


@pytest.mark.usefixtures("patient")
async def test_a_request_in_pieces_is_begun_when_the_last_has_come(server: Server) -> None:
    caller = await server.connect()
    for path in ("/errand/1", "/errand/2"):
        whole = request(path, body="123456789")
        for piece in (whole[:-9], whole[-9:-4], whole[-4:]):
            assert not server.begun
            caller.send(piece)
            await asyncio.sleep(0.005)
        one = await server.errand()
        assert one.body_at_hand == b"123456789"
        one.protocol.end_errand(one, said(one))
        assert await caller.told() == path
    caller.send(whole[:-9])
    await asyncio.sleep(0.005)
    caller.send(whole[-9:] + request("/3") + request("/errand/4"))
    told = [await caller.told() for _ in range(3)]
    assert told == ["/errand/2", "/3", "/errand/4"]
    assert server.paths == told  # one that comes with others takes the ordinary way


async def test_the_rest_of_a_request_is_not_waited_for_without_end(server: Server) -> None:
    caller = await server.connect()
    whole = request("/errand", body="123456789")
    caller.send(whole[:-9])
    await asyncio.sleep(KEEPALIVE_S)
    assert server.paths == ["/errand"]
    caller.send(whole[-9:])
    assert await caller.told() == "/errand"


async def test_a_large_request_is_not_gathered(server: Server) -> None:
    caller = await server.connect()
    whole = request("/errand", body="x" * gathering.GATHERED_BYTES_MAX)
    caller.send(whole[:-9])
    caller.send(whole[-9:])
    assert await caller.told() == "/errand"
    assert server.paths == ["/errand"]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("end", ["the caller leaves", "the server is to stop"])
async def test_what_is_gathered_is_left_to_nobody(server: Server, end: str) -> None:
    caller = await server.connect()
    whole = request("/errand", body="123456789")
    caller.send(whole)
    one = await server.errand()
    protocol = one.protocol
    protocol.end_errand(one, said(one))
    assert await caller.told() == "/errand"
    caller.send(whole[:-9])
    await eventually(lambda: is_gathering(protocol))
    if end == "the caller leaves":
        caller.writer.close()
        await eventually(lambda: is_lost(weakref.ref(protocol)))
        assert not await is_gathering(protocol)
        assert not server.paths
    else:
        protocol.close()
        caller.send(whole[-9:])
        assert await caller.told() == "/errand"
        assert await caller.rest() == b""


async def is_gathering(protocol: EdgeProtocol) -> bool:
    return protocol._gathering is not None


OFFER = ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk")
"""What a client sends that would rather speak HTTP/2, and goes on if nobody answers to it."""


async def test_an_offer_to_speak_another_protocol_changes_nothing(server: Server) -> None:
    caller = await server.connect()
    for path in ("/1", "/errand/2", "/3"):
        sent = request(path, *OFFER)
        head_bytes = sent.index(b"\r\n\r\n") + 4
        caller.send(sent if path != "/3" else sent[:head_bytes])
        if path == "/3":
            await asyncio.sleep(0.02)
            caller.send(sent[head_bytes:])
        elif path == "/errand/2":
            await server.end()
        assert await caller.told() == path


@pytest.mark.parametrize("cut", ["in the head", "in the body", "in what follows", "nowhere"])
async def test_nothing_behind_an_offer_is_taken_for_what_it_is_not(
    server: Server, cut: str
) -> None:
    first, offer = request("/1"), request("/2", *OFFER, body="abc")
    follows = request("/3", body=request("/hidden").decode())
    whole = first + offer + follows
    at = {
        "in the head": len(first) + 40,
        "in the body": len(first + offer) - 1,
        "in what follows": len(first + offer) + follows.index(b"\r\n\r\n") + 4,
        "nowhere": len(whole),
    }[cut]
    caller = await server.connect()

    async def answers() -> list[str]:
        return [await caller.told() for _ in range(2)]

    told = asyncio.create_task(answers())
    caller.send(whole[:at])
    await asyncio.sleep(0.02)
    caller.send(whole[at:])
    assert await told == ["/1", "/2"]
    with suppress(ConnectionError):  # where the other side has closed it before it came
        assert await caller.rest() == b""
    assert server.paths == ["/1", "/2"]


async def is_lost(protocol: weakref.ref[EdgeProtocol]) -> bool:
    """Tell whether a connection has noticed that its caller is gone."""
    found = protocol()
    return found is None or found.transport is None


@pytest.mark.parametrize("way", ["reset", "half-close"])
async def test_a_caller_that_goes_away_during_an_errand_leaves_nothing(
    server: Server, way: str
) -> None:
    caller = await server.connect()
    caller.send(request("/errand"))
    one = await server.errand()
    protocol = weakref.ref(one.protocol)
    if way == "reset":
        sock = caller.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        caller.writer.transport.abort()
    else:
        caller.writer.write_eof()
        assert await caller.rest() == b""

    assert await eventually(lambda: is_lost(protocol))
    one.protocol.end_errand(one, said(one))
    del one
    await asyncio.sleep(0.02)
    gc.collect()
    assert protocol() is None


async def test_an_errand_can_be_forgotten_once_it_is_ended(server: Server) -> None:
    caller = await server.connect()
    caller.send(request("/errand"))
    one = await server.errand()
    gone = weakref.ref(one)
    one.protocol.end_errand(one, said(one))
    assert await caller.told() == "/errand"
    del one
    assert gone() is None


async def test_an_answer_that_cannot_be_sent_closes_the_connection(server: Server) -> None:
    caller = await server.connect()
    caller.send(request("/errand"))
    one = await server.errand()
    one.protocol.end_errand(one, WholeAnswer(200, ((b"x", b"a\r\nb: c"),), b""))
    assert await caller.rest() == b""


async def lost() -> None:
    raise ConnectionAbortedError


async def failed() -> None:
    raise KeyError


@pytest.mark.parametrize("work", [lost, failed])
async def test_a_server_does_not_wait_for_an_errand_that_was_broken_off(
    server: Server, work: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    caller = await server.connect()
    caller.send(request("/errand"))
    one = await server.errand()
    end = asyncio.create_task(one.protocol.shutdown(60))
    await asyncio.sleep(0.01)
    one.protocol.go_on(work())
    assert await caller.rest() == b""
    async with asyncio.timeout(WAIT_S_MAX):
        await end


async def test_no_more_is_served_to_a_caller_that_does_not_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "RELEASED_FROM_BYTES", 16 * 1024 * 1024)
    monkeypatch.setattr(memory, "RELEASE_DELAY_S", 0.0)
    caller = await server.connect()
    body = bytes(32 * 1024 * 1024)
    caller.send(request("/errand/1"))
    one = await server.errand()
    one.protocol.end_errand(one, WholeAnswer(200, (), body))
    caller.send(request("/errand/2"))
    await asyncio.sleep(0.05)
    caller.send(request("/3"))
    await asyncio.sleep(0.05)
    assert (server.begun, server.paths) == ([], [])
    assert not server.trimmed.is_set()
    assert await caller.told() == body.decode()
    assert [await caller.told() for _ in range(2)] == ["/errand/2", "/3"]
    caller.send(request("/errand/4"))
    await server.end()
    assert await caller.told() == "/errand/4"
    assert await asyncio.to_thread(server.trimmed.wait, WAIT_S_MAX)  # what waited is given back
