"""Who comes in, and with which key the store is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import gateway_over
from layer_testing.scripted_store import ScriptedStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

WRITE, FETCH = "/v2/namespaces/n", "/v2/namespaces/n/documents"
ROW = {"id": "a"}


@pytest.fixture(autouse=True)
def _namespace(store: ScriptedStore) -> None:
    store.namespace("n", rows=({"id": "a", "k": 1},))


def assert_refused(answer: EdgeAnswer, status: int, reason: str) -> None:
    assert (answer.status, answer.json["reason"]) == (status, reason), answer.body
    assert answer.json.keys() == {"error", "message", "reason"}
    assert answer["x-should-retry"] == "false"
    assert answer["x-request-id"]


MISSING = "missing or malformed Authorization: Bearer header"


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic YTpi", "a-key"])
async def test_no_bearer_is_a_401(
    edge: EdgeCaller, store: ScriptedStore, value: str | None
) -> None:
    nobody = EdgeCaller(edge.address, key="")
    headers = {} if value is None else {"authorization": value}
    for target in (WRITE, "/v2/namespaces", "/v1/unknown"):
        answer = await nobody("GET", target, b"", headers)
        assert_refused(answer, 401, "BEARER_MISSING")
        assert answer.json["error"] == MISSING
    assert store.requests == []


@pytest.mark.parametrize("key", [b"another", b"a-key2", b"\xff\xfe", b"a-ke", b"a key"])
async def test_another_key_is_a_403(edge: EdgeCaller, store: ScriptedStore, key: bytes) -> None:
    answer = await edge("GET", "/v1/unknown", b"", {"authorization": b"Bearer " + key})
    assert_refused(answer, 403, "KEY_INVALID")
    assert answer.json["error"] == "invalid API key"
    assert store.requests == []


async def test_the_key_is_asked_before_the_body_is_looked_at(edge: EdgeCaller) -> None:
    nobody = EdgeCaller(edge.address, key="")
    answer = await nobody("POST", WRITE, b"{" * 2_000_000)
    assert_refused(answer, 401, "BEARER_MISSING")


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
async def test_public_routes_ask_for_no_key(edge: EdgeCaller, path: str) -> None:
    nobody = EdgeCaller(edge.address, key="")
    assert (await nobody("GET", path)).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_spelt_in_any_case(edge: EdgeCaller, scheme: str) -> None:
    headers = {"authorization": f"{scheme} a-key"}
    assert (await edge("GET", f"{FETCH}/a", b"", headers)).status == 200


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyless(store: ScriptedStore) -> AsyncIterator[EdgeCaller]:
    async with gateway_over(store.url, TURBOPUFFER_API_KEY="") as process:
        yield EdgeCaller(process.addresses["http"], key="")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_edge(store: ScriptedStore) -> AsyncIterator[EdgeCaller]:
    async with gateway_over(store.url, LAYER_GATEWAY_INBOUND_AUTH="open") as process:
        yield EdgeCaller(process.addresses["http"], key="")


async def test_the_stores_key_replaces_the_callers_spelling_of_it(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    headers = {"authorization": "bearer   a-key"}
    assert (await edge("POST", WRITE, {"upsert_rows": [ROW]}, headers)).status == 200
    await edge("GET", "/v1/unknown", b"", headers)
    assert {one.header(b"authorization") for one in store.requests} == {b"Bearer a-key"}


async def test_a_gateway_without_a_key_sends_on_the_callers(
    keyless: EdgeCaller, store: ScriptedStore
) -> None:
    store.requests.clear()
    assert_refused(await keyless("GET", "/v1/unknown"), 401, "BEARER_MISSING")
    headers = {"authorization": "Bearer anyone"}
    await keyless("GET", "/v1/unknown", b"", headers)
    assert (await keyless("POST", WRITE, {"upsert_rows": [ROW]}, headers)).status == 200
    assert {one.header(b"authorization") for one in store.requests} == {b"Bearer anyone"}


async def test_an_open_gateway_asks_for_nothing_and_uses_its_own_key(
    open_edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.requests.clear()
    assert (await open_edge("POST", WRITE, {"upsert_rows": [ROW]})).status == 200
    await open_edge("GET", "/v1/unknown", b"", {"authorization": "Bearer whoever"})
    assert {one.header(b"authorization") for one in store.requests} == {b"Bearer a-key"}
