"""`Auto`: which searches it makes of a text, by its length and by what the request has."""

from __future__ import annotations

from typing import Any

import pytest

from layer_gateway_testing.searches import (
    Legs,
    label_of,
    query,
    rows,
    scored,
    worked_example,
)
from layer_testing.edge_calls import EdgeCaller
from layer_testing.scripted_store import ScriptedStore

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_auto_searches_short_texts_by_their_letters(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    legs = Legs(store, worked_example)
    received = await query(edge, ["text", "Auto", "hand hammar", {"vector": [1.0], "fuzziness": 0}])
    assert sorted(map(label_of, legs.asked)) == ["bm25", "hammar", "hand"]
    assert list(received.json) == ["rows", "hybrid", "routing", "next_cursor"]
    assert received.json["hybrid"]["fuzziness"] == 0
    assert received.json["routing"] == {
        "route": "hybrid_text",
        "policy": "v1",
        "tokens": 2,
        "executed": True,
    }


async def test_auto_searches_long_texts_by_their_vector(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    legs = Legs(store, worked_example)
    text = "which of the saws is the best for cutting green wood"
    rank_by = ["text", "Auto", text, {"vector": [0.50, 1]}]
    received = await query(edge, rank_by, top_k=3, filters=["kind", "Eq", "saw"])
    assert legs.asked == [
        {
            "rank_by": ["vector", "ANN", [0.50, 1]],
            "top_k": 3,
            "consistency": {"level": "eventual"},
            "filters": ["kind", "Eq", "saw"],
        }
    ]
    assert list(received.json) == ["rows", "routing", "next_cursor"]
    assert received.json["rows"][0] == {"id": "t-2", "$dist": 1.4}
    assert received.json["routing"]["route"] == "semantic"
    assert received.json["routing"]["tokens"] == 10
    again = await query(edge, rank_by, top_k=3, cursor=received.json["next_cursor"])
    assert again.status == 200
    assert legs.asked[-1]["top_k"] == 6


async def test_auto_fuses_what_is_between_with_the_nearest_rows(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    def told(body: Any) -> bytes:
        return rows(scored("t-9", "t-1") if label_of(body) == "semantic" else ())

    legs = Legs(store, told)
    rank_by = ["text", "Auto", "hand saw blade", {"vector": [1]}]
    received = await query(edge, rank_by, include_leg_breakdown=True)
    assert sorted(map(label_of, legs.asked)) == ["blade", "bm25", "hand", "saw", "semantic"]
    assert [row["id"] for row in received.json["rows"]] == ["t-9", "t-1"]
    assert received.json["rows"][0]["$fused"]["legs"][-1] == {
        "leg": "semantic",
        "rank": 1,
        "score": 1.0,
    }
    assert (received.json["hybrid"]["legs"], received.json["routing"]["route"]) == (5, "fused")


async def test_auto_defers_what_needs_a_vector_that_is_not_there(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    legs = Legs(store, worked_example)
    received = await query(edge, ["text", "Auto", "hand saw blade"])
    routing = {"route": "fused", "policy": "v1", "tokens": 3, "executed": False}
    assert received.json == {"rows": [], "routing": routing}
    assert "x-layer-stable-as-of" not in received
    assert received["traceparent"]
    assert legs.asked == []


async def test_a_forced_route_is_taken(edge: EdgeCaller, store: ScriptedStore) -> None:
    legs = Legs(store, worked_example)
    received = await query(
        edge, ["text", "Auto", "hand", {"route": "semantic", "vector": ["Embed", "hand"]}]
    )
    assert legs.asked[0]["rank_by"] == ["vector", "ANN", ["Embed", "hand"]]
    assert received.json["routing"] == {
        "route": "semantic",
        "policy": "forced",
        "tokens": 1,
        "executed": True,
    }
