"""Queries by errand: each answered once, in its turn, and just as the ordinary way answers it.

A body in chunks is what makes the same query go the ordinary way.
"""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually, parse_answer
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.scripted_store import Exchange, Script, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "errands"
NAMESPACE = f"/v2/namespaces/{NAME}"
QUERY = f"{NAMESPACE}/query"
LONG = [at / 512 for at in range(256)]
PLAIN: dict[str, Any] = {"vector": LONG, "top_k": 2}
NATIVE: dict[str, Any] = {"aggregate_by": {"n": ["Count"]}, "rank_by": ["vector", "ANN", LONG]}
KINDS = {"plain": PLAIN, "native": NATIVE}
WAYS = ("errand", "ordinary")
ROWS = ({"id": "a", "$dist": 0.25, "title": "ä"}, {"id": "b", "$dist": 0.5})
WAIT_S_MAX = 20.0
OWN = {"date", "x-request-id", "traceparent"}
"""Headers that differ from one answer to the next."""
FRAMING = {"content-length", "transfer-encoding", "server"}
"""Headers that tell whether an answer was relayed as a whole, which a slow store decides."""


def request(edge: EdgeCaller, method: str, target: str, body: object = b"", **fields: str) -> bytes:
    """Return a request after which the connection is kept."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return edge.request(method, target, body, {"connection": "keep-alive", **headers})


def query(edge: EdgeCaller, way: str, body: object, target: str = QUERY, **fields: str) -> bytes:
    """Return a query that goes one of the two ways."""
    if way == "errand":
        return request(edge, "POST", target, body, **fields)
    fields |= {"content_type": "application/json", "transfer_encoding": "chunked"}
    text = json.dumps(body).encode()
    chunks = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (1, text[:1], len(text) - 1, text[1:])
    return request(edge, "POST", target, **fields) + chunks


async def receive(reader: asyncio.StreamReader) -> EdgeAnswer:
    """Return the next final answer of a connection."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 100"):
                break
        fields = head.lower()
        body = b""
        if b"transfer-encoding: chunked" in fields:
            while not body.endswith(b"\r\n0\r\n\r\n"):
                line = await reader.readuntil(b"\r\n")
                body += line + await reader.readexactly(int(line, 16) + 2)
        elif b"content-length: " in fields:
            length = int(fields.split(b"content-length: ")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
        return parse_answer(head + body)


async def ask(edge: EdgeCaller, sent: bytes) -> EdgeAnswer:
    """Send a request on a connection that is kept, once the edge waits on it."""
    reader, writer = await edge.connect()
    try:
        writer.write(request(edge, "GET", "/health"))
        await receive(reader)
        writer.write(sent)
        return await receive(reader)
    finally:
        writer.close()


async def ready(edge: EdgeCaller, store: ScriptedStore, name: str = NAME) -> None:
    """Have the gateway know a namespace, over a connection that it keeps."""
    store.namespace(name, rows=ROWS, vector="[256]f32")
    assert (await edge("POST", f"/v2/namespaces/{name}/query", PLAIN)).status == 200
    store.requests.clear()


async def samples(edge: EdgeCaller) -> dict[str, float]:
    """Return how often things were counted, by name and labels."""
    exposition = (await edge("GET", "/metrics")).body.decode()
    return {
        f"{one.name} {sorted(one.labels.items())}": one.value
        for family in text_string_to_metric_families(exposition)
        for one in family.samples
        if not one.name.endswith(("_sum", "_bucket", "_created"))
    }


async def counted(edge: EdgeCaller, before: dict[str, float]) -> dict[str, float]:
    """Return what was counted of queries since then."""
    after = await samples(edge)
    return {
        name: value - before.get(name, 0.0)
        for name, value in after.items()
        if value != before.get(name, 0.0)
        and (name.startswith("layer_query") or "'operation', 'query'" in name)
    }


def compact(body: object, **headers: str) -> bytes:
    """Return an answer whose JSON is as layer itself would write it."""
    text = json.dumps(body, separators=(",", ":")).encode()
    fields: dict[str, Any] = {"content_type": "application/json", **headers}
    return answer(text, **fields)


def essence(received: EdgeAnswer) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return an answer without what is made anew for each."""
    kept = [(name, value) for name, value in received.headers if name not in OWN | FRAMING]
    return received.status, sorted(kept), received.body


async def slowly(exchange: Exchange) -> None:
    """Answer in pieces, and keep the other side waiting before each."""
    text = compact({"rows": ROWS}, connection="close")
    for start in range(0, len(text), 70):
        await asyncio.sleep(0.001)
        await exchange.say(text[start : start + 70])


def mixed(edge: EdgeCaller, kind: str, identifier: str) -> tuple[bytes, int]:
    """Return a request of some kind, and the status of its answer."""
    fields = {"x_request_id": identifier}
    malformed = {"content_type": "application/json", **fields}
    match kind:
        case "plain" | "native":
            return query(edge, "errand", KINDS[kind], **fields), 200
        case "slow":
            return query(edge, "errand", PLAIN, "/v2/namespaces/slow/query", **fields), 200
        case "chunks":
            return query(edge, "ordinary", PLAIN, **fields), 200
        case "invalid":
            return query(edge, "errand", {"vector": [], "top_k": 2}, **fields), 422
        case "malformed":
            return request(edge, "POST", QUERY, b'{"vector": ', **malformed), 400
        case "write":
            return request(edge, "POST", NAMESPACE, {"upsert_rows": [{"id": "a"}]}, **fields), 200
        case "expecting":
            write = {"upsert_rows": [{"id": "a"}]}
            return request(edge, "POST", NAMESPACE, write, expect="100-continue", **fields), 200
        case "fetch":
            return request(edge, "GET", f"{NAMESPACE}/documents/zz", **fields), 200
        case "public":
            return request(edge, "GET", "/health", **fields), 200
        case _:
            return request(edge, "GET", "/nothing", **fields), 404


MIXED = (
    "plain", "plain", "native", "slow", "slow", "chunks", "invalid", "malformed", "write",
    "expecting", "public", "nothing",
)  # fmt: skip


@pytest.mark.parametrize("cut", ["apart", "at once", "anywhere"])
async def test_answers_come_once_and_in_the_order_of_the_requests(
    edge: EdgeCaller, store: ScriptedStore, cut: str
) -> None:
    await ready(edge, store)
    await ready(edge, store, "slow")
    store.answers["POST /v2/namespaces/slow/query"] = slowly
    numbers = random.Random(cut)  # noqa: S311 -- the same each time
    for turn in range(12):
        kinds = numbers.choices(MIXED, k=numbers.randint(2, 10))
        sent = [mixed(edge, kind, f"r-{turn}-{at}") for at, kind in enumerate(kinds)]
        pieces = [text for text, _ in sent]
        if cut != "apart":
            whole = b"".join(pieces)
            at = sorted(numbers.sample(range(len(whole)), 4 if cut == "anywhere" else 0))
            pieces = [whole[a:b] for a, b in zip([0, *at], [*at, len(whole)], strict=True)]
        reader, writer = await edge.connect()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.002 * numbers.randint(0, 2))
        told = [await receive(reader) for _ in kinds]
        assert [one.status for one in told] == [status for _, status in sent], kinds
        assert [one["x-request-id"] for one in told] == [
            f"r-{turn}-{at}" for at in range(len(kinds))
        ]
        writer.write(request(edge, "GET", "/health").replace(b"keep-alive", b"close"))
        last = await reader.read(-1)
        assert last.count(b"HTTP/1.1 ") == 1, kinds
        writer.close()


async def hang_up(exchange: Exchange) -> None:
    """Close the connection unanswered."""


async def half_an_answer(exchange: Exchange) -> None:
    await exchange.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")


async def half_a_head(exchange: Exchange) -> None:
    await exchange.say(b"HTTP/1.1 200 OK\r\ncontent-len")


async def never(exchange: Exchange) -> None:
    await exchange.wait_closed()


async def in_chunks(exchange: Exchange) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    text = json.dumps({"rows": ROWS}, separators=(",", ":")).encode()
    await exchange.say(head + b"5\r\n" + text[:5] + b"\r\n")
    await exchange.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(text) - 5, text[5:]))


def refusal(status: int) -> bytes:
    return answer(
        {"error": "no"}, status, retry_after="3", x_should_retry="true", server="s", x_own="1"
    )


LARGE = compact({"rows": [{"id": "a", "$dist": 1, "text": "x" * 3_000_000}]}, x_own="1")
TOLD: dict[str, bytes | Script] = {
    **{f"{status}": refusal(status) for status in (400, 404, 429, 500)},
    "blamed": answer({"error": "unknown attribute _hevlayer_upserted_at"}, 400),
    "rows": compact({"rows": ROWS}, server_timing="a;dur=1"),
    "no rows": answer({}),
    "vectors": answer({"rows": [{"id": "a", "vector": [1]}]}),
    "too many": answer({"rows": [{"id": f"{at}", "$dist": at} for at in range(4)]}),
    "junk": answer(b"<html>", content_type="text/html"),
    "nothing": answer(b""),
    "no content": b"HTTP/1.1 204 No Content\r\nx-own: 1\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
    "moved": answer({}, 307, location="http://store.test/v2/elsewhere?a=b"),
    "large": LARGE,
    "in pieces": slowly,
    "in chunks": in_chunks,
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "hang-up": hang_up,
    "half an answer": half_an_answer,
    "half a head": half_a_head,
    "never": never,
}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
@pytest.mark.parametrize("body", KINDS.values(), ids=KINDS)
async def test_both_ways_answer_and_count_alike(
    edge: EdgeCaller, store: ScriptedStore, body: object, told: bytes | Script
) -> None:
    found = []
    for way in WAYS:
        await ready(edge, store)
        store.answers[f"POST {QUERY}"] = told
        before = await samples(edge)
        received = await ask(edge, query(edge, way, body))
        asked = [one.json for one in store.asked(f"POST {QUERY}")]
        asked = [one for one in asked if LONG in one["rank_by"]]  # and not for the marker
        found.append((essence(received), asked, await counted(edge, before)))
    assert found[0] == found[1]
    assert {name.split()[0]: value for name, value in found[0][2].items()} == {
        "layer_http_request_seconds_count": 1,
        "layer_query_duration_seconds_count": 1,
        "layer_query_overhead_seconds_count": 1,
        "layer_query_tpuf_seconds_count": 1,
        "layer_query_shape_total": 1,
    }


async def test_rows_that_come_by_errand_are_relayed_as_the_store_wrote_them(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    spaced = json.dumps(ROWS).encode()
    bodies = [(await ask(edge, query(edge, way, PLAIN))).body for way in WAYS]
    assert [spaced in body for body in bodies] == [True, False]  # so that there are two ways
    assert json.loads(bodies[0]) == json.loads(bodies[1])


async def test_a_scrape_counts_each_of_many_queries_once(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    first = await samples(edge)
    for _ in range(3):
        reader, writer = await edge.connect()
        for _ in range(50):
            writer.write(query(edge, "errand", PLAIN))
            assert (await receive(reader)).status == 200
        writer.close()
        await samples(edge)  # in the middle, which changes nothing
    assert set((await counted(edge, first)).values()) == {150}


class Gate:
    """Queries that wait at the store until they are let through."""

    def __init__(self, store: ScriptedStore, then: bytes) -> None:
        self._then = then
        self.waiting_count = 0
        self.is_open = asyncio.Event()
        store.answers[f"POST {QUERY}"] = self._wait

    async def _wait(self, exchange: Exchange) -> None:
        self.waiting_count += 1
        await self.is_open.wait()
        await exchange.say(self._then)

    async def holds(self, count: int) -> None:
        async def is_reached() -> bool:
            return self.waiting_count >= count  # or more, when facts are asked for anew

        assert await eventually(is_reached)


async def test_limits_and_keys_hold_both_ways(store: ScriptedStore) -> None:
    settings = {
        "LAYER_GATEWAY_KEY_REQUESTS_PER_SECOND": "0.001",
        "LAYER_GATEWAY_KEY_BURST_COUNT": "5",
        "LAYER_GATEWAY_KEY_INFLIGHT_MAX": "2",
    }
    async with gateway_over(store.url, **settings) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        await ready(edge, store)  # of the five, that takes one
        gate = Gate(store, answer({"rows": ROWS}))
        held = [asyncio.create_task(ask(edge, query(edge, "errand", PLAIN))) for _ in range(2)]
        await gate.holds(2)
        found = [essence(await ask(edge, query(edge, way, PLAIN))) for way in WAYS]
        assert found[0] == found[1]
        assert b"KEY_INFLIGHT" in found[0][2]
        gate.is_open.set()
        assert [(await one).status for one in held] == [200, 200]
        for way in WAYS:  # the last two
            assert (await ask(edge, query(edge, way, PLAIN))).status == 200
        refused = [await ask(edge, query(edge, way, PLAIN)) for way in WAYS]
        assert [(one.status, one.json["reason"]) for one in refused] == [(429, "KEY_RATE")] * 2
        for stranger in (EdgeCaller(edge.address, key=""), EdgeCaller(edge.address, key="b")):
            found = [essence(await ask(edge, query(stranger, way, PLAIN))) for way in WAYS]
            assert found[0] == found[1]
            assert found[0][0] in (401, 403)


@pytest.mark.parametrize("body", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("then", ["rows", "large", "no HTTP"])
async def test_a_caller_that_leaves_during_an_errand_takes_no_room(
    edge: EdgeCaller, store: ScriptedStore, body: object, then: str
) -> None:
    await ready(edge, store)
    told = TOLD[then]
    assert isinstance(told, bytes)
    gate = Gate(store, told)
    callers = [await edge.connect() for _ in range(6)]
    for at, (_, writer) in enumerate(callers):
        writer.write(query(edge, "errand", body))
        if at % 2:
            writer.write_eof()
    await gate.holds(len(callers))
    for _, writer in callers:
        writer.transport.abort()
    gate.is_open.set()

    async def is_quiet() -> bool:
        found = await samples(edge)
        return not any(
            value
            for name, value in found.items()
            if name.startswith(("layer_tpuf_inflight", "layer_lost_errors"))
            or (name.startswith("layer_upstream_connections") and "busy" in name)
        )

    assert await eventually(is_quiet)
    await ready(edge, store)
    assert (await ask(edge, query(edge, "errand", body))).status == 200


async def test_a_caller_that_does_not_read_is_not_served_without_end(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    await ready(edge, store)
    text = "x" * 900_000
    store.answers[f"POST {QUERY}"] = answer({"rows": [{"id": "a", "$dist": 1, "text": text}]})
    reader, writer = await edge.connect()
    count = 60
    for _ in range(count):
        writer.write(query(edge, "errand", PLAIN))
        await asyncio.sleep(0.001)
    seen = -1

    async def is_settled() -> bool:
        nonlocal seen
        await asyncio.sleep(0.1)
        before, seen = seen, len(store.asked(f"POST {QUERY}"))
        return 0 < seen == before

    assert await eventually(is_settled)
    assert seen < count
    for _ in range(count):
        received = await receive(reader)
        assert (received.status, len(received.json["rows"][0]["text"])) == (200, len(text))
    writer.close()


async def test_errands_end_before_the_process_does(store: ScriptedStore, tmp_path: Path) -> None:
    marker = tmp_path / "draining"
    settings = {"LAYER_GATEWAY_SHUTDOWN_GRACE_S": "300", "LAYER_DRAIN_MARKER_PATH": str(marker)}
    async with gateway_over(store.url, **settings) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        await ready(edge, store)
        breaks = asyncio.Event()

        async def half_of_it(exchange: Exchange) -> None:
            await exchange.say(LARGE[: len(LARGE) // 2])
            await breaks.wait()

        store.answers[f"POST {QUERY}"] = half_of_it
        reader, writer = await edge.connect()
        writer.write(query(edge, "errand", NATIVE, x_request_id="broken-off"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        gate = Gate(store, compact({"rows": ROWS}))
        held = [
            asyncio.create_task(ask(edge, query(edge, "errand", body))) for body in KINDS.values()
        ]
        await gate.holds(2)
        marker.touch()

        async def is_draining() -> bool:
            return (await edge("GET", "/ready")).status == 503

        assert await eventually(is_draining)
        refused = [await ask(edge, query(edge, way, PLAIN)) for way in WAYS]
        assert essence(refused[0]) == essence(refused[1])
        assert (refused[0].status, refused[0].json["reason"]) == (503, "GATEWAY_DRAINING")
        end = asyncio.create_task(process.terminate())

        async def is_closed() -> bool:
            try:
                await edge("GET", "/health")
            except OSError:
                return True
            return False

        assert await eventually(is_closed)
        gate.is_open.set()
        assert [(await one).status for one in held] == [200, 200]
        breaks.set()  # one answer is never whole, which is no reason to wait for its end
        assert len(await reader.read(-1)) < len(LARGE)
        writer.close()
        assert await end == 0
        (line,) = [one for one in process.stderr.splitlines() if "relay_broken" in one]
        assert "broken-off" in line
