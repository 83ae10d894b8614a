"""Queries of many namespaces of which some fail: what is told of it, and who answers still."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from layer_gateway_testing.federation import asked, federation, filled, placed, query
from layer_testing.edge_calls import EdgeCaller
from layer_testing.scripted_store import Exchange, ScriptedStore, answer, scripted_store

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store() -> AsyncIterator[ScriptedStore]:
    async with scripted_store() as store:
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(
    store: ScriptedStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    async with federation(store, tmp_path_factory.mktemp("profiles")) as address:
        yield address


@pytest.fixture
def edge(address: str, store: ScriptedStore) -> EdgeCaller:
    return filled(address, store)


def failing(store: ScriptedStore, name: str, body: object, status: int) -> None:
    store.answers[f"POST /v2/namespaces/{name}/query"] = answer(body, status)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"error": "later"}, 429, "rate_limited"),
        ({"error": "broken"}, 500, "upstream_error"),
        ({"error": "gone"}, 404, "not_found"),
        (b"not json", 200, "upstream_error"),
    ],
)
async def test_a_namespace_that_fails_is_told_and_the_others_answer(
    edge: EdgeCaller, store: ScriptedStore, body: object, status: int, code: str
) -> None:
    failing(store, "parts", body, status)
    received = await query(edge, namespaces=["parts", "tools"], top_k=2)
    assert (received.status, received["x-layer-partial"]) == (200, "true")
    assert placed(received) == [("tools", "t-2", 1), ("tools", "t-4", 2)]
    (error,) = received.json["errors"]
    assert (error["namespace"], error["code"]) == ("parts", code)
    assert [one["namespace"] for one in received.json["namespaces"]] == ["tools"]


async def test_strict_relays_the_failure_of_one(edge: EdgeCaller, store: ScriptedStore) -> None:
    failing(store, "parts", {"error": "later"}, 429)
    received = await query(
        edge, vector=None, rank_by=["text", "BM25", "hand"], namespaces=["tools", "parts"],
        strict=True,
    )  # fmt: skip
    assert (received.status, received.json) == (429, {"error": "later"})


async def test_nothing_is_left_when_all_fail(edge: EdgeCaller, store: ScriptedStore) -> None:
    for name in ("parts", "tools"):
        failing(store, name, {"error": "broken"}, 503)
    received = await query(edge, namespaces=["parts", "tools"])
    assert (received.status, received.json["error"]) == (502, "upstream_error")


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_what_is_wrong_with_the_request_is_relayed(
    edge: EdgeCaller, store: ScriptedStore, status: int
) -> None:
    failing(store, "parts", {"error": "vector has 2 dimensions"}, status)
    trace = {"traceparent": "not-checked"}
    body = {"vector": [0.1, 0.2], "namespaces": ["tools", "parts"]}
    received = await edge("POST", "/v2/query", body, trace)
    assert (received.status, received.json) == (status, {"error": "vector has 2 dimensions"})
    assert received["traceparent"] == "not-checked"


@pytest.mark.parametrize(
    "rank_by", [["vector", "ANN"], ["vector", "ANN", {}], ["vector", "ANN", [0.1, 0.2], 1, 2]]
)
async def test_a_ranking_that_makes_no_sense_is_the_stores_to_refuse(
    edge: EdgeCaller, store: ScriptedStore, rank_by: object
) -> None:
    failing(store, "tools", {"error": "no such ranking"}, 422)
    received = await query(edge, vector=None, rank_by=rank_by, namespaces=["tools"])
    assert (received.status, received.json) == (422, {"error": "no such ranking"})


async def test_a_namespace_that_does_not_answer_in_time_has_failed(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    async def silent(exchange: Exchange) -> None:
        await exchange.wait_closed()

    store.answers["POST /v2/namespaces/silent/query"] = silent
    received = await query(edge, namespaces=["silent", "tools"])
    (error,) = received.json["errors"]
    assert (error["namespace"], error["code"]) == ("silent", "gateway_timeout")


@pytest.mark.parametrize(
    ("filters", "detail"),
    [
        (["colour", "Eq", "red"], "attribute 'colour' is not in the schema"),
        (["And", [["id", "Eq", "t-1"], ["rating", "Gt", "high"]]],
         "attribute 'rating' of type int does not take such a value"),
    ],
)  # fmt: skip
async def test_a_filter_that_does_not_fit_leaves_a_namespace_out(
    edge: EdgeCaller, store: ScriptedStore, filters: object, detail: str
) -> None:
    store.namespace("tools", vector="[2]f32", colour="string", rating="string")
    received = await query(edge, filters=filters, namespaces=["parts", "tools"])
    (error,) = received.json["errors"]
    assert error["namespace"] == "parts"
    assert (error["code"], error["detail"]) == ("filter_schema_mismatch", detail)
    assert asked(store, "parts") == []
    assert asked(store, "tools")[0]["filters"] == filters
    strict = await query(
        edge, vector=None, rank_by=["id", "asc"], filters=filters, namespaces=["parts", "tools"],
        strict=True,
    )  # fmt: skip
    assert (strict.status, strict.json["reason"]) == (422, "FILTER_MISMATCH")


async def test_the_store_may_refuse_to_list(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.answers["GET /v1/namespaces"] = answer({"error": "no"}, 403)
    received = await query(edge)
    assert (received.status, received.json) == (403, {"error": "no"})
