"""What the edge answers when the store does not do its part."""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.scripted_store import Exchange, Script, ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "n"
WRITE, QUERY = f"/v2/namespaces/{NAME}", f"/v2/namespaces/{NAME}/query"
Call = tuple[str, str, object]
CALLS: dict[str, Call] = {
    "write": ("POST", WRITE, {"upsert_rows": [{"id": "a"}]}),
    "write-by-filter": ("POST", WRITE, {"delete_by_filter": ["k", "Eq", 1]}),
    "write-without-rows": ("POST", WRITE, {"schema": {"k": "string"}}),
    "query": ("POST", QUERY, {"vector": [1.0]}),
    "native-query": ("POST", QUERY, {"aggregate_by": {"n": ["Count"]}}),
    "fetch": ("GET", f"{WRITE}/documents/a", b""),
    "batch-fetch": ("POST", f"{WRITE}/documents", {"ids": ["a"]}),
    "metadata": ("GET", f"{WRITE}/metadata", b""),
    "list": ("GET", "/v2/namespaces", b""),
    "delete": ("DELETE", WRITE, b""),
    "passthrough": ("GET", "/v1/namespaces/n/schema", b""),
}
RELAYED = ["write", "write-by-filter", "write-without-rows", "query", "native-query", "passthrough"]
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
ROUTES = [
    f"POST {WRITE}", f"POST {QUERY}", f"GET {WRITE}/metadata", "GET /v1/namespaces",
    f"DELETE {WRITE}", f"GET /v1/namespaces/{NAME}/schema",
]  # fmt: skip


def assert_failed(received: EdgeAnswer, status: int, error: str, reason: str) -> None:
    assert (received.status, received.json["error"]) == (status, error), received.body
    assert received.json["reason"] == reason
    assert received["x-should-retry"] == "true"
    assert received["x-request-id"]


def break_all(store: ScriptedStore, told: bytes | Script) -> None:
    """Answer every route alike."""
    store.answers |= dict.fromkeys(ROUTES, told)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stranded() -> AsyncIterator[EdgeCaller]:
    """Run a gateway whose store refuses connections."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, and never listened on
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with gateway_over(url) as process:
            yield EdgeCaller(process.addresses["http"], key=KEY)


@each_call
async def test_a_store_that_cannot_be_reached_is_a_502(stranded: EdgeCaller, call: Call) -> None:
    assert_failed(await stranded(*call), 502, "upstream_error", "UPSTREAM_UNREACHABLE")


async def hang_up(exchange: Exchange) -> None:
    """Close the connection unanswered."""


async def half_an_answer(exchange: Exchange) -> None:
    await exchange.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")


async def garbage(exchange: Exchange) -> None:
    await exchange.say(b"SSH-2.0-OpenSSH_9.6\r\n")


async def never(exchange: Exchange) -> None:
    await exchange.wait_closed()


@each_call
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (hang_up, "UPSTREAM_CLOSED"),
        (half_an_answer, "UPSTREAM_CLOSED"),
        (garbage, "UPSTREAM_PROTOCOL_ERROR"),
    ],
)
async def test_a_store_that_breaks_off_is_a_502(
    edge: EdgeCaller, store: ScriptedStore, call: Call, script: Script, reason: str
) -> None:
    break_all(store, script)
    assert_failed(await edge(*call), 502, "upstream_error", reason)


async def test_a_store_that_takes_too_long_is_a_504(edge: EdgeCaller, store: ScriptedStore) -> None:
    break_all(store, never)
    for one in await asyncio.gather(*(edge(*call) for call in CALLS.values())):
        assert_failed(one, 504, "gateway_timeout", "UPSTREAM_TIMEOUT")


@pytest.mark.parametrize("script", [hang_up, half_an_answer, never])
@pytest.mark.parametrize("body", [{"upsert_rows": [{"id": "a"}]}, {"schema": {"k": "string"}}])
async def test_a_write_is_sent_once_whatever_becomes_of_it(
    edge: EdgeCaller, store: ScriptedStore, script: Script, body: object
) -> None:
    store.namespace(NAME)
    # The connection is warm, which is when a client is tempted to try another one.
    assert (await edge("POST", WRITE, {"upsert_rows": [{"id": "a"}]})).status == 200
    store.requests.clear()
    store.answers[f"POST {WRITE}"] = script
    assert (await edge("POST", WRITE, body)).status in (502, 504)
    assert len(store.asked(f"POST {WRITE}")) == 1


async def test_a_query_is_sent_again_when_its_connection_was_gone(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace(NAME)
    tries = 0

    async def second_time(exchange: Exchange) -> None:
        nonlocal tries
        tries += 1
        if tries > 1:
            await exchange.say(answer({"rows": []}, connection="close"))

    assert (await edge("GET", f"{WRITE}/documents/warm")).status == 404
    store.answers[f"POST {QUERY}"] = second_time
    assert (await edge("POST", QUERY, {"vector": [1.0]})).json == {"rows": [], "next_cursor": None}
    assert tries == 2


REFUSAL = answer(
    {"status": "error", "error": "no"}, 429, retry_after="3", x_should_retry="true", x_own="1"
)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize("call", [CALLS[name] for name in RELAYED], ids=RELAYED)
async def test_a_refusal_of_the_store_is_relayed_as_it_is(
    edge: EdgeCaller, store: ScriptedStore, call: Call, status: int
) -> None:
    store.namespace(NAME)
    await edge(*CALLS["fetch"])  # so that its schema is known
    break_all(store, REFUSAL.replace(b"429", b"%d" % status, 1))
    received = await edge(*call)
    assert received.status == status
    assert received.body == b'{"status": "error", "error": "no"}'
    for name, value in (("retry-after", "3"), ("x-should-retry", "true"), ("x-own", "1")):
        assert received[name] == value


@pytest.mark.parametrize("status", [401, 429, 500])
@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (CALLS["fetch"], "FETCH_FAILED"),
        (CALLS["batch-fetch"], "FETCH_FAILED"),
        (("POST", QUERY, {"nearest_to_id": ["a"]}), "FETCH_FAILED"),
        (CALLS["list"], "LIST_FAILED"),
        (CALLS["delete"], "DELETE_FAILED"),
    ],
)
async def test_a_step_of_layers_own_that_is_refused_is_a_502(
    edge: EdgeCaller, store: ScriptedStore, call: Call, reason: str, status: int
) -> None:
    store.namespace(NAME)
    await edge(*CALLS["fetch"])
    break_all(store, answer({"error": "no"}, status))
    assert_failed(await edge(*call), 502, "upstream_error", reason)


@pytest.mark.parametrize(
    ("route", "told", "reason"),
    [
        ("GET /v1/namespaces/{n}/schema", answer({"error": "no"}, 500), "SCHEMA_UNREADABLE"),
        ("GET /v1/namespaces/{n}/schema", answer(b"<html>"), "UPSTREAM_UNREADABLE"),
        ("GET /v1/namespaces/{n}/schema", answer([1]), "UPSTREAM_UNREADABLE"),
        ("POST /v2/namespaces/{n}/query", answer({"error": "no"}, 500), "MARKER_UNREADABLE"),
        (
            "POST /v2/namespaces/{n}/query",
            answer({"rows": [{"id": "m", "_hevlayer_shard_count": "four"}]}),
            "UPSTREAM_UNREADABLE",
        ),
        (
            "POST /v2/namespaces/{n}/query",
            answer({"rows": [{"id": "m", "_hevlayer_shard_count": 0}]}),
            "UPSTREAM_UNREADABLE",
        ),
    ],
)
async def test_nothing_is_written_when_the_namespace_cannot_be_read(
    edge: EdgeCaller, store: ScriptedStore, route: str, told: bytes, reason: str
) -> None:
    name = f"unreadable-{zlib.crc32(route.encode() + told)}"
    store.namespace(name)
    store.answers[route.format(n=name)] = told
    received = await edge("POST", f"/v2/namespaces/{name}", {"upsert_rows": [{"id": "a"}]})
    assert_failed(received, 502, "upstream_error", reason)
    assert store.asked(f"POST /v2/namespaces/{name}") == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"rows":5}', b'{"rows":[5]}', b"\xff"])
async def test_an_unreadable_answer_to_a_query_is_a_502(
    edge: EdgeCaller, store: ScriptedStore, body: bytes
) -> None:
    store.namespace(NAME)
    await edge("GET", f"{WRITE}/documents/a")
    store.answers[f"POST {QUERY}"] = answer(body)
    for call in (
        ("POST", QUERY, {"vector": [1.0]}),
        ("GET", f"{WRITE}/documents/a", b""),
        ("POST", QUERY, {"nearest_to_id": ["a"]}),
    ):
        assert_failed(await edge(*call), 502, "upstream_error", "UPSTREAM_UNREADABLE")


@pytest.mark.parametrize("row", [{"k": 1}, {"id": None}, {"id": [1]}, {"id": -1}])
async def test_a_row_without_an_id_is_a_502(
    edge: EdgeCaller, store: ScriptedStore, row: object
) -> None:
    store.namespace(NAME, rows=(row,))
    received = await edge("GET", f"{WRITE}/documents/a")
    assert_failed(received, 502, "upstream_error", "UPSTREAM_UNREADABLE")


@pytest.mark.parametrize("body", [[], {"index": 5}])
async def test_unreadable_metadata_is_a_502(
    edge: EdgeCaller, store: ScriptedStore, body: object
) -> None:
    store.namespace(NAME)
    store.answers[f"GET {WRITE}/metadata"] = answer(body)
    received = await edge("GET", f"{WRITE}/metadata")
    assert_failed(received, 502, "upstream_error", "UPSTREAM_UNREADABLE")


async def test_a_listing_tells_of_a_namespace_whose_metadata_cannot_be_read(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    names = ["down", "gone", "odd", "strange", "fine"]
    store.answers["GET /v1/namespaces"] = answer({"namespaces": [{"id": name} for name in names]})
    store.answers["GET /v2/namespaces/down/metadata"] = hang_up
    store.answers["GET /v2/namespaces/odd/metadata"] = answer({"schema": 5})
    store.answers["GET /v2/namespaces/strange/metadata"] = answer({"index": 5})
    store.answers["GET /v2/namespaces/fine/metadata"] = answer({"schema": {}, "index": {}})
    received = await edge("GET", "/v2/namespaces")
    assert received.status == 200, received.body
    listed = {one["name"]: one for one in received.json["namespaces"]}
    assert list(listed) == names
    assert {name for name, one in listed.items() if "metadata_error" in one} == set(names[:4])


async def test_a_write_that_applied_is_acknowledged_even_if_its_ids_are_unreadable(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace(NAME)
    told = {"status": "OK", "rows_affected": 1, "deleted_ids": {"odd": True}}
    store.answers[f"POST {WRITE}"] = answer(told)
    received = await edge("POST", WRITE, {"delete_by_filter": ["k", "Eq", 1]})
    assert (received.status, received.json) == (200, told)


async def test_no_fault_of_the_store_is_logged_as_a_crash_of_ours(gateway: ServiceProcess) -> None:
    assert "crashed" not in gateway.stderr
