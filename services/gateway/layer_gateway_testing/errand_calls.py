"""Queries by errand and in the ordinary way, on connections that a test holds itself.

A body in chunks is what makes the same query go the ordinary way.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually, parse_answer
from layer_testing.scripted_store import Exchange, Script, ScriptedStore, answer

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


async def receive(reader: asyncio.StreamReader, method: str = "POST") -> EdgeAnswer:
    """Return the next final answer of a connection, to a request of this method.

    Raises:
        asyncio.IncompleteReadError: When the connection ends before it does.
    """
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 100"):
                break
        body = b"" if method == "HEAD" else await _body_after(head.lower(), reader)
        return parse_answer(head + body, method=method)


async def _body_after(fields: bytes, reader: asyncio.StreamReader) -> bytes:
    """Return a body as it is on the wire."""
    body = b""
    if b"transfer-encoding: chunked" in fields:
        while True:
            line = await reader.readuntil(b"\r\n")
            chunk_bytes = int(line, 16)
            body += line + await reader.readexactly(chunk_bytes + 2)
            if not chunk_bytes:
                return body
    if b"content-length: " in fields:
        length = int(fields.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
    return body


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
    store.answers[f"GET /v2/namespaces/{name}/metadata"] = answer({})  # or it would seem to be gone
    received = await edge("POST", f"/v2/namespaces/{name}/query", PLAIN)
    assert received.status == HTTPStatus.OK
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
