"""What is the store's alone goes through the gateway as it came, both ways."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import re
from urllib.parse import urljoin

import pytest

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, parse_answer
from layer_testing.scripted_store import Exchange, ScriptedStore, StoreRequest, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}
OF_THIS_HOP = {"content-length", "connection", "date", "server", "x-request-id"}


def end_to_end(received: EdgeAnswer) -> list[tuple[str, str]]:
    return [field for field in received.headers if field[0] not in OF_THIS_HOP]


def only(store: ScriptedStore) -> StoreRequest:
    (request,) = store.requests
    return request


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/namespaces"),
        ("GET", "/v1/namespaces?prefix=a%20b&page_size=2&cursor=%3D%3d"),
        ("PUT", "/v1/namespaces/n/metadata"),
        ("GET", "/v1/namespaces/n/schema"),
        ("POST", "/v1/namespaces/n/_debug/recall"),
        ("GET", "/v1/namespaces/n/hint_cache_warm"),
        ("POST", "/v2/namespaces/n/explain_query?stainless_overload=x"),
        ("POST", "/v1/namespaces/n/copy"),
        ("GET", "/v1/unknown//twice/./dots/../up"),
        ("GET", "/v1/%zz%2f%2F%c3%a9~!$&'()*+,;=:@?a=%zz&&b=?/'"),
        ("PURGE", "/anything"),
        ("OPTIONS", "/v2/namespaces/n"),
        ("DELETE", "/v1/namespaces/n"),
        ("PATCH", "/v3/future"),
    ],
)
async def test_method_and_target_reach_the_store_byte_for_byte(
    edge: EdgeCaller, store: ScriptedStore, method: str, target: str
) -> None:
    body = b'{ "odd" : 1e400, "bytes":"\xff" }' if method in ("POST", "PUT", "PATCH") else b""
    received = await edge(method, target, body, JSON)
    request = only(store)
    assert (request.method, request.target, request.body) == (method, target.encode(), body)
    assert received.status == 404
    assert "nothing at" in received.json["error"]


async def test_headers_reach_the_store_but_for_those_of_the_hop(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    kept: dict[str, str | bytes] = {
        "Accept-Encoding": "gzip, br",
        "user-agent": "test/1",
        "cookie": "a=b",
        "x-Odd": b"caf\xe9 \xc3\xa9\t~",
        "content-type": "text/odd",
        "content-encoding": "br",
        "x-layer-anything": "1",
    }
    dropped: dict[str, str | bytes] = {
        "connection": "close, X-Mine",
        "keep-alive": "timeout=5",
        "te": "trailers",
        "trailer": "x-t",
        "proxy-authorization": "Basic x",
        "proxy-connection": "close",
        "x-mine": "of this hop alone",
    }
    await edge("POST", "/v1/unknown", b"\0\x01", kept | dropped)
    request = only(store)
    found = {name.decode().lower(): value for name, value in request.headers}
    assert found.keys() - {"x-request-id"} == {
        *(name.lower() for name in kept), "host", "content-length", "authorization",
    }  # fmt: skip
    for name, value in kept.items():
        assert found[name.lower()] == (value.encode() if isinstance(value, str) else value)
    assert found["host"] == store.url.removeprefix("http://").encode()


async def test_a_chunked_body_reaches_the_store_whole(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    head = edge.request("POST", "/v1/unknown", b"", {"transfer-encoding": "chunked"})
    await edge.send(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-trailer: 1\r\n\r\n", method="POST")
    assert only(store).body == b"abcde"
    assert only(store).header(b"transfer-encoding") is None


async def test_requests_of_every_form_follow_one_another_on_a_connection(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    def posted(number: int, body: bytes, **headers: str) -> bytes:
        return edge.request("POST", f"/v1/unknown/{number}", body, {"connection": "", **headers})

    body = b"b" * 300_000
    late, large = posted(1, b"late"), posted(2, body)
    chunked = posted(7, b"", **{"transfer-encoding": "chunked"}) + b"3\r\nabc\r\n0\r\n\r\n"
    pieces = [
        [posted(0, b"plain")],
        [late[:-4], late[-4:]],
        [large[:100_000], large[100_000:]],
        [posted(3, b"")],
        [posted(4, b"one") + posted(5, b"two") + posted(6, b"three")[:-2], b"ee"],
        [chunked],
        [posted(8, b"plain again")],
    ]
    reader, writer = await edge.connect()
    for parts in pieces:
        answers_count = sum(part.count(b" HTTP/1.1\r\n") for part in parts)
        for part in parts:
            writer.write(part)
            await writer.drain()
        for _ in range(answers_count):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 404 ")
            (length,) = re.findall(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length))
    writer.close()
    sent = [b"plain", b"late", body, b"", b"one", b"two", b"three", b"abc", b"plain again"]
    assert [(request.target, request.body) for request in store.requests] == [
        (b"/v1/unknown/%d" % number, one) for number, one in enumerate(sent)
    ]


async def test_status_headers_and_body_come_back_byte_for_byte(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.answers["GET /teapot"] = (
        b"HTTP/1.1 418 Short\r\nContent-Type: text/odd\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n"
        b"x-text: caf\xe9\r\nx-utf8: caf\xc3\xa9\r\nretry-after: 7\r\nretry-after-ms: 6500\r\n"
        b"x-should-retry: true\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\n"
        b"content-length: 3\r\n\r\n\xff\0\n"
    )
    received = await edge("GET", "/teapot")
    assert (received.status, received.body) == (418, b"\xff\0\n")
    assert end_to_end(received) == [
        ("content-type", "text/odd"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x-text", "caf\xe9"),
        ("x-utf8", "caf\xc3\xa9"),
        ("retry-after", "7"),
        ("retry-after-ms", "6500"),
        ("x-should-retry", "true"),
    ]
    assert "x-request-id" in received


async def test_an_encoded_answer_is_not_touched(edge: EdgeCaller, store: ScriptedStore) -> None:
    encoded = gzip.compress(b'{"namespaces":[]}')
    store.answers["GET /v1/namespaces"] = answer(
        encoded, content_encoding="gzip", content_type="application/json", etag='"x"'
    )
    received = await edge("GET", "/v1/namespaces", b"", {"accept-encoding": "gzip"})
    assert received.body == encoded
    assert received["content-encoding"] == "gzip"
    assert received["etag"] == '"x"'


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_none(
    edge: EdgeCaller, store: ScriptedStore, status: int
) -> None:
    store.answers["GET /none"] = b"HTTP/1.1 %d X\r\netag: x\r\n\r\n" % status
    received = await edge("GET", "/none")
    assert (received.status, received.body) == (status, b"")
    assert end_to_end(received) == [("etag", "x")]
    assert "content-length" not in received


async def test_head_tells_the_length_of_what_it_leaves_out(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.answers["HEAD /there"] = b"HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 2222\r\n\r\n"
    received = await edge("HEAD", "/there")
    assert (received.status, received.body) == (200, b"")
    assert received["content-length"] == "2222"
    assert received["x-a"] == "b"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("{store}/v1/x?y=%20", "/v1/x?y=%20"),
        ("{store}", "/"),
        ("{store}?y=1#z", "/?y=1#z"),
        ("{store}//elsewhere.test/x", "/elsewhere.test/x"),
        ("https://elsewhere.test/v2/poll", "/v2/poll"),
        ("HTTPS://elsewhere.test/v2/poll", "/v2/poll"),
        ("//elsewhere.test/v2/poll", "/v2/poll"),
        ("/v1/relative?u=http://x", "/v1/relative?u=http://x"),
        ("relative", "relative"),
    ],
)
@pytest.mark.parametrize("origin", ["http://edge.test", "https://edge.test:8443"])
async def test_a_location_points_at_the_gateway_under_whatever_name_it_was_called(
    edge: EdgeCaller, store: ScriptedStore, sent: str, expected: str, origin: str
) -> None:
    """A proxy before the gateway may end TLS, so that only the caller knows the origin."""
    store.answers["POST /started"] = answer(b"", 202, location=sent.format(store=store.url))
    location = (await edge("POST", "/started"))["location"]
    assert location == expected
    assert urljoin(f"{origin}/started", location).startswith(f"{origin}/")


async def test_a_redirect_of_a_write_or_a_large_answer_does_not_lead_past_the_gateway(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("moved")
    large = b"x" * 2_000_000
    write, query = "/v2/namespaces/moved", "/v2/namespaces/moved/query"
    assert (await edge("GET", f"{write}/documents/a")).status == 404  # its schema is known now
    store.answers |= {
        f"POST {write}": answer(b"", 307, location=f"https://elsewhere.test{write}"),
        f"POST {query}": answer(b"", 307, location=f"https://elsewhere.test{query}"),
        "GET /large": answer(large, 302, location="https://elsewhere.test/large"),
    }
    for method, target, body in (
        ("POST", write, {"upsert_rows": [{"id": "a"}]}),
        ("POST", query, {"rank_by": ["id", "asc"], "top_k": 1}),
        ("GET", "/large", b""),
    ):
        assert (await edge(method, target, body))["location"] == target


@pytest.mark.parametrize("size_bytes", [1024 * 1024 - 1, 1024 * 1024 + 1, 5_000_001])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_large_answer_arrives_whole(
    edge: EdgeCaller, store: ScriptedStore, size_bytes: int, framing: str
) -> None:
    body = b"".join(b"%07d\n" % at for at in range(size_bytes // 8 + 1))[:size_bytes]

    async def tell(exchange: Exchange) -> None:
        match framing:
            case "length":
                await exchange.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size_bytes)
                await exchange.say(body)
            case "chunked":
                await exchange.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                for start in range(0, size_bytes, 100_000):
                    piece = body[start : start + 100_000]
                    await exchange.say(b"%x\r\n%b\r\n" % (len(piece), piece))
                await exchange.say(b"0\r\n\r\n")
            case _:
                await exchange.say(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    store.answers["GET /large"] = tell
    received = await edge("GET", "/large")
    assert received.status == 200
    assert received.body == body
    assert "x-request-id" in received


async def test_a_large_answer_starts_before_it_has_ended(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    half = b"x" * 2_000_000
    goes_on = asyncio.Event()

    async def tell(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (2 * len(half)))
        await exchange.say(half)
        await goes_on.wait()
        await exchange.say(half)

    store.answers["GET /slow"] = tell
    reader, writer = await edge.connect()
    writer.write(edge.request("GET", "/slow"))
    async with asyncio.timeout(10):
        received = await reader.readexactly(1_000_000)
        goes_on.set()
        received += await reader.read(-1)
    writer.close()
    assert parse_answer(received).body == 2 * half


async def test_a_caller_that_leaves_frees_the_connection_to_the_store(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    is_closed = asyncio.Event()

    async def tell(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                await exchange.say(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except ConnectionError:
            is_closed.set()

    store.answers["GET /endless"] = tell
    reader, writer = await edge.connect()
    writer.write(edge.request("GET", "/endless"))
    assert await reader.readexactly(300_000)
    writer.transport.abort()
    async with asyncio.timeout(10):
        await is_closed.wait()


@pytest.mark.parametrize("framing", [b"content-length: 3000000", b"transfer-encoding: chunked"])
async def test_an_answer_that_breaks_off_upstream_breaks_off_here(
    edge: EdgeCaller, store: ScriptedStore, framing: bytes
) -> None:
    async def tell(exchange: Exchange) -> None:
        piece = b"%x\r\n%b\r\n" % (2_000_000, b"x" * 2_000_000)
        await exchange.say(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + piece)

    store.answers["GET /broken"] = tell
    with pytest.raises(http.client.IncompleteRead) as broken:
        await edge("GET", "/broken")
    assert b"upstream_error" not in broken.value.partial


async def test_a_caller_may_ask_before_it_sends_its_body(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.answers["POST /asked"] = answer(b"taken")
    headers = {"expect": "100-continue", "content-length": "5"}
    reader, writer = await edge.connect()
    writer.write(edge.request("POST", "/asked", b"", headers))
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert store.requests == []
        writer.write(b"hello")
        received = await reader.read(-1)
    writer.close()
    assert parse_answer(received, method="POST").body == b"taken"
    assert only(store).body == b"hello"
    assert only(store).header(b"expect") is None


async def test_a_caller_who_may_not_in_is_not_asked_for_its_body(edge: EdgeCaller) -> None:
    headers = {"expect": "100-continue", "content-length": "5", "authorization": "Bearer x"}
    reader, writer = await edge.connect()
    writer.write(edge.request("POST", "/asked", b"", headers))
    async with asyncio.timeout(10):
        assert (await reader.readline()) == b"HTTP/1.1 403 Forbidden\r\n"
    writer.close()


async def test_requests_in_one_packet_are_answered_in_their_order(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.answers["GET /one"] = answer(b"1")
    store.answers["GET /two"] = answer(b"2")
    first = edge.request("GET", "/one", b"", {"connection": "keep-alive"})
    reader, writer = await edge.connect()
    writer.write(first + edge.request("GET", "/two"))
    async with asyncio.timeout(10):
        received = await reader.read(-1)
    writer.close()
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.index(b"\r\n\r\n1") < received.index(b"\r\n\r\n2")


async def test_a_query_on_the_old_path_goes_to_the_new_one(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    body = b'{"vector": [1.0]}'
    await edge("POST", "/v1/namespaces/v1%2Fv1/query?x=/v1/", body, JSON)
    request = only(store)
    assert request.target == b"/v2/namespaces/v1%2Fv1/query?x=/v1/"
    assert request.body == body


async def test_metadata_of_the_store_gets_an_id(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.answers["GET /v1/namespaces/n/metadata"] = answer({"approx_row_count": 2**64 - 1})
    received = await edge("GET", "/v1/namespaces/n/metadata", b"", {"accept-encoding": "gzip"})
    assert received.json == {"id": "n", "approx_row_count": 2**64 - 1}
    assert only(store).header(b"accept-encoding") is None


async def test_a_changed_schema_is_asked_for_anew(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("changing")
    store.answers["POST /v1/namespaces/changing/schema"] = answer({"k": "string"})
    write = ("POST", "/v2/namespaces/changing", {"upsert_rows": [{"id": "a"}]})
    for _ in range(2):
        assert (await edge(*write)).status == 200
    assert len(store.asked("GET /v1/namespaces/changing/schema")) == 1
    changed = await edge("POST", "/v1/namespaces/changing/schema", {"k": {"type": "string"}})
    assert changed.json == {"k": "string"}
    assert (await edge(*write)).status == 200
    assert len(store.asked("GET /v1/namespaces/changing/schema")) == 2


async def test_a_listing_sends_its_query_string_as_it_came(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.answers["GET /v1/namespaces"] = answer({"namespaces": [{"id": "n"}], "next_cursor": "c"})
    store.answers["GET /v2/namespaces/n/metadata"] = answer(
        {"schema": {"vector": "[3]f16"}, "approx_row_count": 2, "index": {"status": "updating"}}
    )
    received = await edge("GET", "/v2/namespaces?prefix=a%20b%2B&cursor=x%3D%3D&page_size=7")
    assert store.requests[0].target == b"/v1/namespaces?prefix=a%20b%2B&cursor=x%3D%3D&page_size=7"
    assert received.json["next_cursor"] == "c"
    (listed,) = received.json["namespaces"]
    assert (listed["name"], listed["row_count"], listed["is_stable"]) == ("n", 2, False)
    assert listed["schema_summary"] == {"fields": ["vector"], "vector_dim": 3}
