"""Limits at the edge: of a key, of all keys, of bodies, and of patience."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio

from layer_kit.errors import QuotaExceededError
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, Caller, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.scripted_store import Exchange, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_S = 0.6
QUERY_BYTES_MAX = 4096


def assert_refused(received: EdgeAnswer, status: int, error: str, reason: str) -> None:
    told = (received.status, received.json["error"], received.json["reason"])
    assert told == (status, error, reason), received.body
    assert received["x-should-retry"] == "true"


class Gate:
    """Requests that wait at the store until they are let through."""

    def __init__(self, store: ScriptedStore) -> None:
        self.waiting_count = 0
        self.is_open = asyncio.Event()
        store.answers["GET /wait"] = self._wait

    async def _wait(self, exchange: Exchange) -> None:
        self.waiting_count += 1
        await self.is_open.wait()
        await exchange.say(answer({"waited": True}))

    async def filled(self, count: int) -> None:
        async def is_full() -> bool:
            return self.waiting_count == count

        assert await eventually(is_full)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bounded(store: ScriptedStore) -> AsyncIterator[ServiceProcess]:
    """A gateway that takes any bearer: two at once of each, three of all."""
    async with gateway_over(
        store.url,
        TURBOPUFFER_API_KEY="",
        LAYER_GATEWAY_KEY_INFLIGHT_MAX="2",
        LAYER_GATEWAY_INFLIGHT_MAX="3",
        LAYER_GATEWAY_REQUEST_PATIENCE_S=str(PATIENCE_S),
        LAYER_GATEWAY_QUERY_BODY_BYTES_MAX=str(QUERY_BYTES_MAX),
    ) as process:
        yield process


async def test_a_key_has_its_rate_over_both_transports(store: ScriptedStore) -> None:
    store.namespace("n", rows=({"id": "a"},))
    async with gateway_over(
        store.url,
        TURBOPUFFER_API_KEY="",
        LAYER_GATEWAY_KEY_REQUESTS_PER_SECOND="0.01",
        LAYER_GATEWAY_KEY_BURST_COUNT="3",
    ) as process:
        edge = EdgeCaller(process.addresses["http"], key="one")
        for _ in range(3):
            assert (await edge("GET", "/v2/namespaces/n/documents/a")).status == 200
        refused = await edge("GET", "/v2/namespaces/n/documents/a")
        assert_refused(refused, 429, "rate_limited", "KEY_RATE")
        assert 1 <= int(refused["retry-after"]) <= 100
        assert (await edge("GET", "/health")).status == 200
        other = EdgeCaller(process.addresses["http"], key="two")
        assert (await other("GET", "/v2/namespaces/n/documents/a")).status == 200
        async with grpc.aio.insecure_channel(process.addresses["grpc"]) as channel:
            with pytest.raises(QuotaExceededError) as exhausted:
                await Caller(channel, "one").list()
        assert exhausted.value.reason == "KEY_RATE"
        assert exhausted.value.retry_after_s is not None


async def test_a_key_and_all_keys_have_so_many_requests_in_flight(
    bounded: ServiceProcess, store: ScriptedStore
) -> None:
    gate = Gate(store)
    one, two, three = (EdgeCaller(bounded.addresses["http"], key=key) for key in ("1", "2", "3"))
    waiting = [asyncio.create_task(one("GET", "/wait")) for _ in range(2)]
    await gate.filled(2)
    assert_refused(await one("GET", "/wait"), 429, "rate_limited", "KEY_INFLIGHT")
    async with grpc.aio.insecure_channel(bounded.addresses["grpc"]) as channel:
        with pytest.raises(QuotaExceededError) as exhausted:
            await Caller(channel, "1").list()
    assert (exhausted.value.reason, exhausted.value.retry_after_s) == ("KEY_INFLIGHT", 1.0)
    waiting.append(asyncio.create_task(two("GET", "/wait")))
    await gate.filled(3)
    shed = await three("GET", "/wait")
    assert_refused(shed, 503, "service_unavailable", "GATEWAY_FULL")
    assert shed["retry-after"] == "1"
    assert (await three("GET", "/ready")).status == 200
    gate.is_open.set()
    assert [one.status for one in await asyncio.gather(*waiting)] == [200] * 3
    assert (await one("GET", "/wait")).status == 200


async def test_a_caller_that_goes_away_gives_its_place_back(
    bounded: ServiceProcess, store: ScriptedStore
) -> None:
    gate = Gate(store)
    edge = EdgeCaller(bounded.addresses["http"], key="gone")
    waiting = [asyncio.create_task(edge("GET", "/wait")) for _ in range(2)]
    await gate.filled(2)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    gate.is_open.set()

    async def has_room() -> bool:
        return (await edge("GET", "/wait")).status == 200

    assert await eventually(has_room)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v2/namespaces/n/query"),
        ("POST", "/v2/namespaces/n/documents"),
        ("POST", "/v2/query"),
    ],
)
async def test_a_query_may_be_smaller_than_a_write(
    bounded: ServiceProcess, store: ScriptedStore, method: str, target: str
) -> None:
    store.namespace("n")
    edge = EdgeCaller(bounded.addresses["http"], key=KEY)
    large = {"ids": ["a"], "rank_by": ["id", "asc"], "top_k": 1, "padding": "x" * QUERY_BYTES_MAX}
    refused = await edge(method, target, large)
    assert (refused.status, refused.json["error"]) == (413, "payload_too_large")
    written = {"upsert_rows": [{"id": "a", "padding": "x" * QUERY_BYTES_MAX}]}
    assert (await edge("POST", "/v2/namespaces/n", written)).status == 200


async def test_a_head_that_does_not_end_closes_the_connection(bounded: ServiceProcess) -> None:
    edge = EdgeCaller(bounded.addresses["http"], key=KEY)
    for beginning in (b"", b"GET /v2/namespaces HTTP/1.1\r\nx-slow: "):
        reader, writer = await edge.connect()
        writer.write(beginning)
        async with asyncio.timeout(PATIENCE_S * 10):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("/v2/namespaces/n", {"upsert_rows": [{"id": "a"}]}),
        ("/v2/namespaces/n/query", {"vector": [1.0, 0.0], "top_k": 1}),
    ],
    ids=["write", "query"],
)
async def test_a_body_that_does_not_come_is_a_408(
    bounded: ServiceProcess, store: ScriptedStore, target: str, sent: dict[str, Any]
) -> None:
    store.requests.clear()
    edge = EdgeCaller(bounded.addresses["http"], key=KEY)
    whole = edge.request("POST", target, sent)
    reader, writer = await edge.connect()
    writer.write(whole[:-5])
    async with asyncio.timeout(PATIENCE_S * 20):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readuntil(b"}")
    writer.close()
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert b"x-should-retry: true" in head.lower()
    assert b"BODY_TOO_SLOW" in body
    assert store.requests == []


async def test_a_large_body_may_take_its_time(
    bounded: ServiceProcess, store: ScriptedStore
) -> None:
    store.namespace("n")
    edge = EdgeCaller(bounded.addresses["http"], key=KEY)
    row = {"id": "a", "padding": "x" * 128 * 1024}
    whole = edge.request("POST", "/v2/namespaces/n", {"upsert_rows": [row]})
    reader, writer = await edge.connect()
    writer.write(whole[:-5])
    await writer.drain()
    # Its 128 KiB excuse four seconds beyond the patience: none of them is used up here.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(PATIENCE_S * 2):
            await reader.read(1)
    writer.write(whole[-5:])
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()


def large_answers(store: ScriptedStore) -> dict[str, tuple[str, str, object]]:
    """Have the store answer with more than buffers on the way take; return who asks for it."""
    rows = [{"id": f"r-{at}", "$dist": 0.5, "text": "x" * 65_536} for at in range(512)]
    store.namespace("large", rows=tuple(rows), vector="[2]f32")
    store.answers["GET /large"] = answer(rows)
    query = {"vector": [1.0, 0.0], "top_k": 512}
    return {
        "passed on": ("GET", "/large", b""),
        "made here": ("POST", "/v2/namespaces/large/query", query),
    }


@asynccontextmanager
async def asked(
    edge: EdgeCaller, call: tuple[str, str, object]
) -> AsyncIterator[asyncio.StreamReader]:
    """Send a request; yield what its answer is read from."""
    reader, writer = await edge.connect()
    try:
        writer.write(edge.request(*call))
        yield reader
    finally:
        writer.close()


async def taken(reader: asyncio.StreamReader, *, pause_s: float = 0.0) -> bytes:
    """Take an answer until the connection is closed."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(1024 * 1024):
            received += part
            await asyncio.sleep(pause_s)
    return bytes(received)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def narrow(store: ScriptedStore) -> AsyncIterator[EdgeCaller]:
    """A gateway with two connections to its store."""
    async with gateway_over(
        store.url,
        LAYER_GATEWAY_UPSTREAM_CONNECTIONS_MAX="2",
        LAYER_GATEWAY_REQUEST_PATIENCE_S=str(3 * PATIENCE_S),
    ) as process:
        yield EdgeCaller(process.addresses["http"], key=KEY)


@pytest.mark.parametrize("kind", ["passed on", "made here"])
async def test_a_caller_who_takes_no_more_of_an_answer_is_hung_up_on(
    bounded: ServiceProcess, store: ScriptedStore, kind: str
) -> None:
    edge, call = EdgeCaller(bounded.addresses["http"], key=KEY), large_answers(store)[kind]

    async def is_hung_up_on() -> bool:
        async with asked(edge, call) as reader:
            await asyncio.sleep(PATIENCE_S * 4)  # in which not a byte is taken
            return b'"r-511"' not in await taken(reader)

    assert await eventually(is_hung_up_on)  # at once, where the answer was begun by then


@pytest.mark.parametrize("kind", ["passed on", "made here"])
async def test_a_caller_who_takes_its_time_gets_all_of_an_answer(
    narrow: EdgeCaller, store: ScriptedStore, kind: str
) -> None:
    async with asked(narrow, large_answers(store)[kind]) as reader:
        began_s = asyncio.get_running_loop().time()
        received = await taken(reader, pause_s=PATIENCE_S / 40)
    assert asyncio.get_running_loop().time() - began_s > 3 * PATIENCE_S
    assert b'"r-511"' in received


async def test_callers_who_take_nothing_do_not_keep_the_store_from_others(
    narrow: EdgeCaller, store: ScriptedStore
) -> None:
    call = large_answers(store)["passed on"]
    store.answers["GET /small"] = answer({})
    store.requests.clear()

    async def have_all_connections() -> bool:
        return len(store.asked("GET /large")) == 2

    async with asked(narrow, call), asked(narrow, call):
        assert await eventually(have_all_connections)
        assert (await narrow("GET", "/small")).status == 200
