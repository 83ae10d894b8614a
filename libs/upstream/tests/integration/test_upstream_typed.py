from __future__ import annotations

from typing import Any

import msgspec
import pytest

from layer_kit.errors import (
    ForbiddenError,
    LayerError,
    NotFoundError,
    QuotaExceededError,
    UnauthenticatedError,
    UpstreamError,
)
from layer_upstream.typed import TurbopufferClient, attribute_types

KEY = b"Bearer tpuf_x"
METADATA = {
    "schema": {"id": {"type": "uint"}, "text": "string", "v": {"type": "[2]f32", "ann": True}},
    "approx_row_count": 7,
    "approx_logical_bytes": 700,
    "index": {"status": "updating", "unindexed_bytes": 10, "unindexed_rows": 1},
}


class Upstream:
    """Gives one answer to everything and keeps what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.answer = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def script(self, dialogue: Any) -> None:
        while True:
            head, body = await dialogue.request()
            self.heads.append(head)
            self.bodies.append(body)
            await dialogue.say(self.answer)


async def open_typed(
    serve: Any, connect: Any, status: int, answer: object
) -> tuple[TurbopufferClient, Upstream]:
    upstream = Upstream(status, msgspec.json.encode(answer))
    return TurbopufferClient(connect(await serve(upstream.script))), upstream


async def test_metadata_is_parsed(serve: Any, connect: Any) -> None:
    client, upstream = await open_typed(serve, connect, 200, METADATA)
    metadata = await client.metadata("a/b c", KEY)
    assert upstream.heads[0].startswith(b"GET /v2/namespaces/a%2Fb%20c/metadata HTTP/1.1\r\n")
    assert b"\r\nauthorization: Bearer tpuf_x\r\n" in upstream.heads[0]
    assert (metadata.index.status, metadata.index.unindexed_bytes) == ("updating", 10)
    assert metadata.approx_row_count == 7
    assert attribute_types(metadata.schema) == {"id": "uint", "text": "string", "v": "[2]f32"}


async def test_a_schema_is_parsed(serve: Any, connect: Any) -> None:
    client, upstream = await open_typed(serve, connect, 200, METADATA["schema"])
    assert attribute_types(await client.schema("n", KEY))["v"] == "[2]f32"
    assert upstream.heads[0].startswith(b"GET /v1/namespaces/n/schema HTTP/1.1\r\n")


async def test_namespaces_are_listed_in_pages(serve: Any, connect: Any) -> None:
    answer = {"namespaces": [{"id": "a"}, {"id": "b"}], "next_cursor": "c&1"}
    client, upstream = await open_typed(serve, connect, 200, answer)
    page = await client.list_namespaces(KEY)
    assert [entry.id for entry in page.namespaces] == ["a", "b"]
    await client.list_namespaces(KEY, prefix="ü", cursor=page.next_cursor or "", page_size=2)
    assert [head.split(b" ")[1] for head in upstream.heads] == [
        b"/v1/namespaces?page_size=1000",
        b"/v1/namespaces?prefix=%C3%BC&cursor=c%261&page_size=2",
    ]


async def test_queries_and_writes_are_relayed_whatever_their_status(
    serve: Any, connect: Any
) -> None:
    client, upstream = await open_typed(serve, connect, 400, {"status": "error", "error": "no"})
    for answer in (await client.query("n", b"{}", KEY), await client.write("n", b"[]", KEY)):
        assert (answer.status, answer.body) == (400, b'{"status":"error","error":"no"}')
    assert [head.split(b" HTTP")[0] for head in upstream.heads] == [
        b"POST /v2/namespaces/n/query",
        b"POST /v2/namespaces/n",
    ]
    assert all(b"\r\ncontent-type: application/json\r\n" in head for head in upstream.heads)
    assert upstream.bodies == [b"{}", b"[]"]


async def test_a_namespace_is_deleted(serve: Any, connect: Any) -> None:
    client, upstream = await open_typed(serve, connect, 200, {"status": "OK"})
    await client.delete_namespace("n", KEY)
    assert upstream.heads[0].startswith(b"DELETE /v2/namespaces/n HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("status", "error_class", "reason"),
    [
        (401, UnauthenticatedError, "UPSTREAM_UNAUTHENTICATED"),
        (403, ForbiddenError, "UPSTREAM_FORBIDDEN"),
        (404, NotFoundError, "NAMESPACE_NOT_FOUND"),
        (429, QuotaExceededError, "UPSTREAM_RATE_LIMITED"),
        (302, UpstreamError, "UPSTREAM_STATUS"),
        (500, UpstreamError, "UPSTREAM_STATUS"),
    ],
)
async def test_parsed_calls_raise_for_other_statuses(
    serve: Any, connect: Any, status: int, error_class: type[LayerError], reason: str
) -> None:
    client, _ = await open_typed(serve, connect, status, {"error": "why"})
    for call in (client.metadata("n", KEY), client.delete_namespace("n", KEY)):
        with pytest.raises(error_class, match="why") as caught:
            await call
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    "answer", [[], {"schema": {}}, {"schema": {"a": {}}, "index": {"status": ""}}]
)
async def test_json_of_another_shape_is_a_protocol_error(
    serve: Any, connect: Any, answer: object
) -> None:
    client, _ = await open_typed(serve, connect, 200, answer)
    with pytest.raises(UpstreamError) as caught:
        attribute_types((await client.metadata("n", KEY)).schema)
    assert caught.value.reason == "UPSTREAM_PROTOCOL_ERROR"
