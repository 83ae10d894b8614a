from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from layer_kit.errors import LayerError, UnavailableError

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- nothing announces the pool's state
            await asyncio.sleep(0.005)


async def reason_of(request: Awaitable[object]) -> str:
    with pytest.raises(LayerError) as caught:
        await request
    return caught.value.reason


class Gate:
    """Answers only once it is opened; counts who waits."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()
        self.heard_count = 0

    async def script(self, dialogue: Any) -> None:
        while True:
            await dialogue.request()
            self.heard_count += 1
            await self.is_open.wait()
            await dialogue.say(OK)


async def test_connections_and_waiters_are_bounded(serve: Any, connect: Any) -> None:
    gate = Gate()
    registry = CollectorRegistry()
    server = await serve(gate.script)
    client = connect(server, connections_max=2, waiters_max=3, registry=registry)
    requests = [asyncio.create_task(client.request(b"GET", b"/", [])) for _ in range(5)]
    await until(lambda: gate.heard_count == 2 and client._pool.waiting_count == 3)
    with pytest.raises(UnavailableError) as caught:
        await client.request(b"GET", b"/", [])
    assert caught.value.reason == "UPSTREAM_POOL_FULL"
    assert registry.get_sample_value("layer_tpuf_inflight") == 5
    assert registry.get_sample_value("layer_upstream_connections", {"state": "busy"}) == 2
    gate.is_open.set()
    assert [(await request).body for request in requests] == [b"ok"] * 5
    assert len(server.dialogues) == 2
    assert registry.get_sample_value("layer_tpuf_inflight") == 0
    assert registry.get_sample_value("layer_upstream_connections", {"state": "idle"}) == 2


@pytest.mark.parametrize("connect", ["awaited"], indirect=True)
async def test_a_waiter_gives_up_in_time(serve: Any, connect: Any, clock: Any) -> None:
    gate = Gate()
    client = connect(await serve(gate.script), connections_max=1, monotonic=clock)
    first = asyncio.create_task(client.request(b"GET", b"/", []))
    await until(lambda: gate.heard_count == 1)
    second = asyncio.create_task(client.request(b"GET", b"/", [], timeout_s=3))
    await until(lambda: client._pool.waiting_count == 1)
    clock.now_s += 3.1
    assert await reason_of(second) == "UPSTREAM_TIMEOUT"
    gate.is_open.set()
    assert (await first).body == b"ok"
    assert client._pool.waiting_count == 0


async def test_a_waiter_takes_the_place_of_a_connection_that_failed(
    serve: Any, connect: Any
) -> None:
    may_fail = asyncio.Event()

    async def script(dialogue: Any) -> None:
        await dialogue.request()
        if dialogue.index == 0:
            await may_fail.wait()
        else:
            await dialogue.say(OK)
            await dialogue.answer_all()

    server = await serve(script)
    client = connect(server, connections_max=1)
    first = asyncio.create_task(client.request(b"GET", b"/", []))
    await until(lambda: len(server.dialogues) == 1)
    second = asyncio.create_task(client.request(b"GET", b"/", []))
    await until(lambda: client._pool.waiting_count == 1)
    may_fail.set()
    assert await reason_of(first) == "UPSTREAM_CLOSED"
    assert (await second).body == b"ok"


@pytest.mark.parametrize("connect", ["awaited"], indirect=True)
async def test_a_cancelled_request_never_poisons_the_pool(serve: Any, connect: Any) -> None:
    async def script(dialogue: Any) -> None:
        while True:
            head, _ = await dialogue.request()
            target = head.split(b" ")[1]
            # Answers may be late, but each tells which request it answers.
            for _ in range(len(target) % 5):
                await asyncio.sleep(0)
            await dialogue.say(
                b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(target), target)
            )

    client = connect(await serve(script), connections_max=4)

    async def one(number: int) -> None:
        target = b"/" + b"x" * (number % 7) + b"%d" % number
        request = asyncio.create_task(client.request(b"GET", target, []))
        for _ in range(number % 11):
            await asyncio.sleep(0)
        if number % 3:
            request.cancel()
        try:
            assert (await request).body == target
        except asyncio.CancelledError:
            assert number % 3

    for start in range(0, 600, 50):
        await asyncio.gather(*(one(number) for number in range(start, start + 50)))
    assert client._pool.waiting_count == 0
    assert client._pool._dialling_count == 0
    assert (await client.request(b"GET", b"/last", [])).body == b"/last"
    assert client._pool.idle_count == client._pool.open_count <= 4


@pytest.mark.parametrize("connect", ["awaited"], indirect=True)
async def test_cancelling_closes_the_connection(serve: Any, connect: Any) -> None:
    heard, closed = asyncio.Event(), asyncio.Event()

    async def script(dialogue: Any) -> None:
        await dialogue.request()
        heard.set()
        await dialogue.wait_for_close()
        closed.set()

    client = connect(await serve(script))
    request = asyncio.create_task(client.request(b"GET", b"/", []))
    await heard.wait()
    request.cancel()
    await closed.wait()
    assert client._pool.open_count == 0


async def test_closing_the_client_fails_what_is_in_flight_and_what_comes_after(
    serve: Any, connect: Any
) -> None:
    gate = Gate()
    client = connect(await serve(gate.script), connections_max=1)
    requests = [asyncio.create_task(client.request(b"GET", b"/", [])) for _ in range(3)]
    await until(lambda: gate.heard_count == 1 and client._pool.waiting_count == 2)
    await client.aclose()
    await client.aclose()
    for request in (*requests, client.request(b"GET", b"/", [])):
        assert await reason_of(request) == "UPSTREAM_CLIENT_CLOSED"
    assert client._pool.open_count == 0


async def test_ten_thousand_requests_leave_nothing_behind(serve: Any, connect: Any) -> None:
    server = await serve(lambda dialogue: dialogue.answer_all())
    client = connect(server, connections_max=8)

    async def many(count: int) -> None:
        for _ in range(count):
            await client.request(b"POST", b"/", [(b"a", b"b")], b"x" * 100)

    await many(100)
    gc.collect()
    before = len(gc.get_objects())
    await asyncio.gather(*(many(1250) for _ in range(8)))
    gc.collect()
    assert len(gc.get_objects()) - before < 1000
    assert len(server.dialogues) <= 9
    assert client._pool.idle_count == client._pool.open_count <= 8


async def test_a_request_to_a_restarted_server_finds_its_new_connections(
    serve: Any, connect: Any
) -> None:
    is_first_life = True

    async def script(dialogue: Any) -> None:
        while True:
            await dialogue.request()
            if is_first_life or dialogue.index >= 4:
                await dialogue.say(OK)
            else:
                return

    server = await serve(script)
    client = connect(server, connections_max=4)
    await asyncio.gather(*(client.request(b"GET", b"/", []) for _ in range(4)))
    assert len(server.dialogues) == 4
    is_first_life = False
    # Every kept connection is dead, and yet one replay is enough for each request.
    for _ in range(4):
        assert (await client.request(b"GET", b"/", [])).body == b"ok"
