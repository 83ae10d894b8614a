"""Queries: what the store is asked, and what the caller gets."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.scripted_store import Exchange, ScriptedStore, StoreRequest, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def row(id_: object, distance: float) -> dict[str, Any]:
    return {"id": id_, "$dist": distance, "kind": "saw", "vector": [0.1, 0.2]}


async def query(edge: EdgeCaller, name: str, **body: object) -> EdgeAnswer:
    return await edge("POST", f"/v2/namespaces/{name}/query", body)


def queries(store: ScriptedStore, name: str) -> list[StoreRequest]:
    """Return what was asked for the callers, without what the gateway asked for itself."""
    asked = store.asked(f"POST /v2/namespaces/{name}/query")
    return [one for one in asked if b"_hevlayer:namespace_meta" not in one.body]


def nearest_first(store: ScriptedStore, name: str, rows: list[dict[str, Any]]) -> None:
    """Serve a namespace that has these rows, in this order, whatever they become."""
    store.namespace(name)

    async def found(exchange: Exchange) -> None:
        is_about_the_marker = b"_hevlayer:namespace_meta" in exchange.request.body
        first = [] if is_about_the_marker else rows[: exchange.request.json["top_k"]]
        await exchange.say(answer({"rows": first}))

    store.answers[f"POST /v2/namespaces/{name}/query"] = found


def decoded(cursor: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))


async def test_the_worked_example(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("tools", rows=(row("t-2", 0.1), row("t-4", 0.25)))
    received = await query(
        edge, "tools", vector=[0.1, 0.2], top_k=2, filters=["kind", "Eq", "saw"],
        as_of=1780000001000,
    )  # fmt: skip
    (request,) = queries(store, "tools")
    as_of = ["_hevlayer_upserted_at", "Lte", 1780000001000]
    assert request.json == {
        "rank_by": ["vector", "ANN", [0.1, 0.2]],
        "top_k": 2,
        "consistency": {"level": "eventual"},
        "filters": ["And", [["kind", "Eq", "saw"], as_of]],
    }
    assert list(received.json) == ["rows", "next_cursor"]
    assert received.json["rows"] == [
        {"id": "t-2", "$dist": 0.1, "kind": "saw"},
        {"id": "t-4", "$dist": 0.25, "kind": "saw"},
    ]
    assert received["x-layer-next-cursor"] == received.json["next_cursor"]
    assert decoded(received.json["next_cursor"]) == {"dist": 0.25, "id": "t-4", "n": 2}
    assert "x-layer-warning" not in received


async def test_bounds_of_time_and_attributes_are_sent(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("tools")
    received = await query(
        edge, "tools", rank_by=["id", "asc"], top_k=5, between=[1, 2],
        include_attributes=["vector", "kind"],
    )  # fmt: skip
    assert queries(store, "tools")[0].json == {
        "rank_by": ["id", "asc"],
        "top_k": 5,
        "consistency": {"level": "eventual"},
        "filters": [
            "And",
            [["_hevlayer_upserted_at", "Gt", 1], ["_hevlayer_upserted_at", "Lte", 2]],
        ],
        "include_attributes": ["kind"],
    }
    assert received["x-layer-warning"] == "vector_attribute_dropped"
    assert received.json == {"rows": [], "next_cursor": None}
    assert "x-layer-next-cursor" not in received


async def test_the_vector_goes_on_as_it_is_spelt(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("tools")
    body = b'{"vector":[0.10, 1e-3,2],"filters":["k","Eq",18446744073709551615]}'
    json_type = {"content-type": "application/json"}
    await edge("POST", "/v2/namespaces/tools/query", body, json_type)
    assert b"[0.10, 1e-3,2]" in queries(store, "tools")[0].body
    assert b'["k","Eq",18446744073709551615]' in queries(store, "tools")[0].body


@pytest.mark.parametrize(
    "body",
    [
        b'{"aggregate_by":{"n":["Count"]}}',
        b'{"rank_by": ["id","asc"]}',
        b'{"vector":[1.0],"exclude_attributes":["k"]}',
        b'{"rank_by":["id","asc"],"limit":5}',
        b'{"rank_by":["id","asc"],"top_k":1,"group_by":["k"]}',
        b'{"vector":[1.0],"distance_metric":"cosine_distance"}',
        b'{"vector":[1.0],"vector_encoding":"base64"}',
        b'{"rank_by":["id","asc"],"top_k":1,"rerank_by":{}}',
        b'{"queries":[{"rank_by":["id","asc"],"top_k":1}],"rerank_by":["RRF"] }',
        b'{"queries":[{"rank_by":["id","asc"],"top_k":1},{"aggregate_by":{"n":["Count"]}}] }',
        b'{"queries":[{"rank_by":["id","asc"],"top_k":1,"rerank_by":{}}] }',
    ],
)
async def test_a_query_of_the_stores_own_is_passed_on(
    edge: EdgeCaller, store: ScriptedStore, body: bytes
) -> None:
    told = {"rows": [], "billing": {"x": 1}, "aggregations": {"n": 3}}
    store.answers["POST /v2/namespaces/native/query"] = answer(told, x_theirs="1")
    target = "/v2/namespaces/native/query?stainless_overload=multiQuery"
    received = await edge("POST", target, body, {"content-type": "application/json"})
    (request,) = store.requests
    assert (request.target, request.body) == (target.encode(), body)
    assert received.json == told
    assert received["x-theirs"] == "1"
    assert "traceparent" not in received


async def test_what_the_store_hints_at_is_relayed(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("busy")
    hints = {
        "retry-after": "2",
        "retry-after-ms": "1500",
        "x-should-retry": "true",
        "server-timing": "db;dur=3",
    }
    named = {name.replace("-", "_"): value for name, value in hints.items()}
    store.answers["POST /v2/namespaces/busy/query"] = answer({"error": "busy"}, 429, **named)
    received = await query(edge, "busy", vector=[1])
    assert received.status == 429
    assert {name: received[name] for name in hints} == hints
    assert len(queries(store, "busy")) == 2


async def test_strong_consistency_is_for_callers_who_insist(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("tools")
    await query(edge, "tools", vector=[1], consistency={"level": "strong"})
    await query(edge, "tools", vector=[1], consistency={"level": "eventual"})
    levels = [one.json["consistency"]["level"] for one in queries(store, "tools")]
    assert levels == ["strong", "eventual"]
    received = await query(edge, "tools", vector=[1], consistency={"level": "any"})
    assert (received.status, "consistency" in received.json["message"]) == (422, True)


async def test_pages_go_on_after_ties(edge: EdgeCaller, store: ScriptedStore) -> None:
    rows = [row("a", 0.1), row("b", 0.25), row("c", 0.25), row("d", 0.25), row("e", 0.5)]
    seen, cursor = [], None
    for page in range(3):
        store.namespace("paged", rows=tuple(rows[: 2 * (page + 1)]))
        received = await query(edge, "paged", vector=[1], top_k=2, cursor=cursor)
        seen += [one["id"] for one in received.json["rows"]]
        cursor = received.json["next_cursor"]
    assert seen == ["a", "b", "c", "d", "e"]
    assert cursor is None
    assert [request.json["top_k"] for request in queries(store, "paged")] == [2, 4, 6]


async def test_pages_go_on_after_rows_that_came_before_them_meanwhile(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    rows = [row(f"a-{at}", at) for at in range(6)]
    nearest_first(store, "growing", rows)
    seen, cursor = [], None
    for page in range(4):
        received = await query(edge, "growing", vector=[1], top_k=2, cursor=cursor)
        seen += [one["id"] for one in received.json["rows"]]
        cursor = received.json["next_cursor"]
        rows[:0] = [row(f"b-{page}-{at}", -page - 1) for at in range(7)]
    assert seen == [f"a-{at}" for at in range(6)]
    assert cursor is None


async def test_pages_end_where_the_store_does_though_rows_came_before_them(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    rows = [row(f"b-{at:05}", 0.1) for at in range(10_000)]
    nearest_first(store, "flooded", rows)
    cursor = base64.urlsafe_b64encode(b'{"dist":0.5,"id":"a","n":1000}').decode().rstrip("=")
    received = await query(edge, "flooded", vector=[1], top_k=2, cursor=cursor)
    assert received.json == {"rows": [], "next_cursor": None}
    asked = [request.json["top_k"] for request in queries(store, "flooded")]
    assert asked == [1002, 2004, 4008, 8016, 10_000]


async def test_a_cursor_that_does_not_count_asks_for_all(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("paged", rows=(row("t-5", 0.25), row("t-6", 0.25), row("t-7", 0.5)))
    cursor = "eyJkaXN0IjowLjI1LCJpZCI6InQtNSJ9"
    received = await query(edge, "paged", vector=[1], top_k=1, cursor=cursor)
    assert queries(store, "paged")[0].json["top_k"] == 10_000
    assert [one["id"] for one in received.json["rows"]] == ["t-6"]
    assert decoded(received.json["next_cursor"]) == {"dist": 0.25, "id": "t-6", "n": None}


async def test_numbers_are_ordered_as_numbers(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("numbers", rows=(row(2, 0.5), row(10, 0.5), row(11, 0.5)))
    cursor = base64.urlsafe_b64encode(b'{"dist":0.5,"id":2,"n":1}').decode().rstrip("=")
    received = await query(edge, "numbers", vector=[1], top_k=2, cursor=cursor)
    assert [one["id"] for one in received.json["rows"]] == [10, 11]


async def test_nobody_pages_beyond_what_the_store_returns(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("deep", rows=(row("b", 0.5),))
    cursor = base64.urlsafe_b64encode(b'{"dist":0.1,"id":"a","n":9999}').decode().rstrip("=")
    received = await query(edge, "deep", vector=[1], top_k=1, cursor=cursor)
    assert queries(store, "deep")[0].json["top_k"] == 10_000
    assert received.json["next_cursor"] is None


@pytest.mark.parametrize("offered", [TRACE, TRACE.upper()])
async def test_a_trace_is_echoed(edge: EdgeCaller, store: ScriptedStore, offered: str) -> None:
    store.namespace("traced")
    target = "/v2/namespaces/traced/query"
    received = await edge("POST", target, {"vector": [1]}, {"traceparent": offered})
    assert received["traceparent"] == offered


@pytest.mark.parametrize(
    "offered", [None, "", "x", TRACE[:-1], "00-" + "0" * 32 + TRACE[35:], TRACE + "-x"]
)
async def test_without_a_valid_trace_one_is_made(
    edge: EdgeCaller, store: ScriptedStore, offered: str | None
) -> None:
    store.namespace("traced")
    headers = {} if offered is None else {"traceparent": offered}
    received = await edge("POST", "/v2/namespaces/traced/query", {"vector": [1]}, headers)
    version, trace, span, flags = received["traceparent"].split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    assert received["traceparent"] != offered
