"""Multi-queries: one request for all legs, or one for each leg and shard."""

from __future__ import annotations

from typing import Any

import pytest

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.scripted_store import Exchange, ScriptedStore, StoreRequest, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
COUNT = {"aggregate_by": {"rows": ["Count"]}}
BY_ID = {"rank_by": ["id", "asc"], "top_k": 1}
MARKER = {"id": "_hevlayer:namespace_meta", "_hevlayer_shard_count": 2}


async def multi_query(
    edge: EdgeCaller, name: str, legs: object, headers: dict[str, str] | None = None, **root: Any
) -> EdgeAnswer:
    target = f"/v2/namespaces/{name}/query?stainless_overload=multiQuery"
    return await edge("POST", target, {"queries": legs, **root}, dict(headers or {}))


def asked(store: ScriptedStore, name: str) -> list[StoreRequest]:
    """Return what was asked for the caller, without what the gateway asked for itself."""
    own = (b'["id","Eq","_hevlayer:namespace_meta"]', b'["_hevlayer_shard","Eq",null]')
    requests = store.asked(f"POST /v2/namespaces/{name}/query")
    return [one for one in requests if not any(part in one.body for part in own)]


def sharded(store: ScriptedStore, name: str, found: dict[str, list[dict[str, Any]]]) -> None:
    """Serve a namespace of two shards; each has every second one of the rows of a ranking."""
    store.namespace(name, _hevlayer_shard="int", _hevlayer_upserted_at="int")

    async def script(exchange: Exchange) -> None:
        query = exchange.request.json
        if b'["_hevlayer_shard","Eq",null]' in exchange.request.body:
            rows: list[dict[str, Any]] = []
        elif query["filters"] == ["id", "Eq", MARKER["id"]]:
            rows = [MARKER]
        else:
            rows = found[query["rank_by"][1]][query["filters"][2] :: 2]
        await exchange.say(answer({"rows": rows}))

    store.answers[f"POST /v2/namespaces/{name}/query"] = script


async def test_all_legs_go_in_one_request(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("tools")
    told = {"results": [{"rows": []}, {"rows": []}], "billing": {"x": 1}, "performance": {"y": 2}}
    store.answers["POST /v2/namespaces/tools/query"] = answer(told, x_theirs="1")
    received = await multi_query(
        edge,
        "tools",
        [
            {"vector": [0.1], "filters": ["k", "Eq", 1], "include_attributes": ["k", "vector"]},
            {"rank_by": ["text", "BM25", "saw"], "limit": 3, "exclude_attributes": ["k"]},
            {"rank_by": ["k", "asc"], "limit": {"total": 5}, "include_leg_breakdown": False},
        ],
        {"traceparent": TRACE},
        as_of=7,
        vector_encoding="base64",
    )
    (request,) = asked(store, "tools")
    as_of = ["_hevlayer_upserted_at", "Lte", 7]
    assert request.json == {
        "queries": [
            {
                "rank_by": ["vector", "ANN", [0.1]],
                "top_k": 10,
                "filters": ["And", [["k", "Eq", 1], as_of]],
                "include_attributes": ["k"],
            },
            {
                "rank_by": ["text", "BM25", "saw"],
                "top_k": 3,
                "exclude_attributes": ["k"],
                "filters": as_of,
            },
            {"rank_by": ["k", "asc"], "limit": {"total": 5}, "filters": as_of},
        ],
        "consistency": {"level": "eventual"},
        "vector_encoding": "base64",
    }
    assert received.json == told
    assert (received["x-theirs"], received["traceparent"]) == ("1", TRACE)
    assert received["x-layer-warning"] == "vector_attribute_dropped"


async def test_the_callers_consistency_is_that_of_the_root(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("tools")
    await multi_query(edge, "tools", [BY_ID, BY_ID], consistency={"level": "strong"})
    assert asked(store, "tools")[0].json["consistency"] == {"level": "strong"}


async def test_a_refusal_is_relayed_and_one_for_load_answered_with_another_try(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("busy")
    busy = answer({"error": "busy"}, 429, retry_after="3", retry_after_ms="2500")
    store.answers["POST /v2/namespaces/busy/query"] = busy
    received = await multi_query(edge, "busy", [BY_ID, BY_ID])
    assert (received.status, received.json) == (429, {"error": "busy"})
    assert (received["retry-after"], received["retry-after-ms"]) == ("3", "2500")
    assert len([one for one in asked(store, "busy") if b"queries" in one.body]) == 2


@pytest.mark.parametrize(
    ("legs", "root", "message"),
    [
        ([], {}, "2 to 16"),
        ([BY_ID], {}, "2 to 16"),
        ([BY_ID] * 17, {}, "2 to 16"),
        ("x", {}, "queries"),
        ([BY_ID, BY_ID], {"cursor": "x"}, "cursor"),
        ([BY_ID, BY_ID], {"as_of": 1, "between": [1, 2]}, "as_of"),
        ([BY_ID, BY_ID], {"consistency": {"level": "x"}}, "consistency"),
        ([BY_ID, {"top_k": 1}], {}, "multi-query leg 2: "),
        ([{"vector": []}, BY_ID], {}, "multi-query leg 1: "),
        ([BY_ID, {"vector": [1], **BY_ID}], {}, "multi-query leg 2: "),
        ([BY_ID, {**BY_ID, "top_k": 0}], {}, "multi-query leg 2: "),
        ([BY_ID, {"vector": [1], "limit": 0}], {}, "multi-query leg 2: "),
        ([BY_ID, BY_ID | {"cursor": "x"}], {}, "multi-query leg 2: "),
        ([BY_ID, BY_ID | {"as_of": 1}], {}, "multi-query leg 2: "),
        ([BY_ID, BY_ID | {"between": [1, 2]}], {}, "multi-query leg 2: "),
        ([{"rank_by": ["t", "HybridText", "x"]}, BY_ID], {}, "multi-query leg 1: "),
        ([BY_ID, {"rank_by": ["t", "Auto", "x"], "top_k": 1}], {}, "multi-query leg 2: "),
        ([BY_ID, 5], {}, "multi-query leg 2: "),
        ([{"vector": [1]}, COUNT], {}, "multi-query leg 2: aggregate_by"),
        ([COUNT, {"nearest_to_id": ["a"]}], {}, "multi-query leg 1: aggregate_by"),
        ([BY_ID, COUNT], {"as_of": 1}, "multi-query leg 2: aggregate_by"),
        ([BY_ID, COUNT], {"between": [1, 2]}, "multi-query leg 2: aggregate_by"),
    ],
)
async def test_bad_legs_are_refused_by_number(
    edge: EdgeCaller, store: ScriptedStore, legs: object, root: dict[str, Any], message: str
) -> None:
    received = await multi_query(edge, "tools", legs, **root)
    assert (received.status, received.json["error"]) == (422, "validation_error")
    assert message in received.json["message"]
    polls = store.asked("GET /v2/namespaces/tools/metadata")  # these come when they will
    assert [one for one in store.requests if one not in polls] == []


async def test_examples_that_are_missing_are_named_with_their_leg(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("tools")
    received = await multi_query(edge, "tools", [BY_ID, {"nearest_to_id": ["t-9"]}])
    assert received.status == 404
    assert received.json["message"].startswith("multi-query leg 2: ")
    assert "t-9" in received.json["message"]


async def test_shards_are_asked_leg_by_leg(edge: EdgeCaller, store: ScriptedStore) -> None:
    near = [{"id": f"n-{at}", "$dist": at / 4, "vector": [1]} for at in range(4)]
    best = [{"id": f"s-{at}", "$dist": 9.5 - at} for at in range(4)]
    first = [{"id": f"f-{at}", "n": at} for at in range(4)]
    sharded(store, "spread", {"ANN": near, "BM25": best, "asc": first})
    received = await multi_query(
        edge,
        "spread",
        [
            {"vector": [0.1], "top_k": 3},
            {"rank_by": ["text", "BM25", "saw"], "limit": 3, "include_attributes": ["vector"]},
            {"rank_by": ["n", "asc"], "top_k": 2},
        ],
    )
    assert received.json == {
        "results": [
            {"rows": [{"id": f"n-{at}", "$dist": at / 4} for at in range(3)]},
            {"rows": [{"id": f"s-{at}", "$score": 9.5 - at} for at in range(3)]},
            {"rows": [{"id": "f-0"}, {"id": "f-1"}]},
        ]
    }
    assert received["x-layer-warning"] == "vector_attribute_dropped"
    shards = [request.json["filters"] for request in asked(store, "spread")]
    assert sorted(shards) == [["_hevlayer_shard", "Eq", shard] for shard in (0, 0, 0, 1, 1, 1)]


async def test_legs_that_shards_cannot_answer_go_in_one_request(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    sharded(store, "spread", {"asc": [{"id": "a"}, {"id": "b"}]})
    told: dict[str, Any] = {"results": [{"rows": []}, {"rows": []}]}

    async def script(exchange: Exchange) -> None:
        await exchange.say(answer(told))

    await multi_query(edge, "spread", [BY_ID, BY_ID])  # which learns of the shards
    store.requests.clear()
    store.answers["POST /v2/namespaces/spread/query"] = script
    received = await multi_query(edge, "spread", [BY_ID, BY_ID | {"offset": 4}])
    assert received.json == told
    assert [request.json["queries"] for request in asked(store, "spread")] == [
        [
            {"rank_by": ["id", "asc"], "top_k": 1, "filters": ["id", "NotEq", MARKER["id"]]},
            {
                "rank_by": ["id", "asc"],
                "top_k": 1,
                "offset": 4,
                "filters": ["id", "NotEq", MARKER["id"]],
            },
        ]
    ]


async def test_they_are_counted(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("counted")
    told: dict[str, Any] = {"results": [{"rows": []}, {"rows": []}]}
    store.answers["POST /v2/namespaces/counted/query"] = answer(told)
    await multi_query(edge, "counted", [BY_ID, BY_ID])
    store.answers["POST /v2/namespaces/counted/query"] = answer({"error": "no"}, 500)
    await multi_query(edge, "counted", [BY_ID, BY_ID])
    text = (await edge("GET", "/metrics")).body.decode()
    labels = 'namespace="counted",'
    lines = [line for line in text.splitlines() if labels in line and "multi_query" in line]
    assert any('status="ok"' in line and line.endswith(" 1.0") for line in lines)
    assert any('status="tpuf_error"' in line and line.endswith(" 1.0") for line in lines)
    assert any("multi_query_legs_count" in line and line.endswith(" 2.0") for line in lines)
