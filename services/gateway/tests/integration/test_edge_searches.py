"""Hybrid text and Auto over HTTP: what the store is asked, and what the caller gets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from layer_gateway_testing.searches import (
    HAMMAR,
    RULES,
    Legs,
    label_of,
    like,
    query,
    rows,
    scored,
    worked_example,
)
from layer_testing.edge_calls import EdgeCaller
from layer_testing.scripted_store import ScriptedStore, answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_worked_example(edge: EdgeCaller, store: ScriptedStore) -> None:
    legs = Legs(store, worked_example)
    received = await query(edge, HAMMAR, top_k=2, include_leg_breakdown=True)
    common = {
        "rank_by": ["text", "BM25", "Hand hammar, a hand"],
        "top_k": 50,
        "consistency": {"level": "eventual"},
    }
    expected = [common, common | {"filters": like("hand")}, common | {"filters": like("hammar")}]
    assert sorted(legs.asked, key=str) == sorted(expected, key=str)
    assert list(received.json) == ["rows", "hybrid", "next_cursor"]
    first, second = received.json["rows"]
    assert list(first) == ["id", "$score", "$fused"]
    assert (first["id"], second["id"]) == ("t-1", "t-2")
    assert first["$score"] == pytest.approx(0.048651507139079855, abs=1e-12)
    assert second["$score"] == pytest.approx(0.03278688524590164, abs=1e-12)
    assert first["$fused"] == {
        "legs": [
            {"leg": "bm25", "rank": 2, "score": 1.1},
            {"leg": "fuzzy:hand", "rank": 2, "score": 1.1},
            {"leg": "fuzzy:hammar", "rank": 1, "score": 1.1},
        ]
    }
    assert second["$fused"]["legs"][2] == {"leg": "fuzzy:hammar", "rank": None, "score": None}
    assert received.json["hybrid"] == {
        "tokens": ["hand", "hammar"],
        "tokens_dropped": 0,
        "stopwords": "en",
        "stopwords_dropped": 0,
        "fuzziness": "auto",
        "rank_constant": 60,
        "legs": 3,
        "per_leg_limit": 50,
    }
    assert received.json["next_cursor"] == received["x-layer-next-cursor"] == "eyJvZmZzZXQiOjJ9"
    assert received["traceparent"]


async def test_the_last_page_has_no_cursor(edge: EdgeCaller, store: ScriptedStore) -> None:
    Legs(store, worked_example)
    received = await query(edge, HAMMAR, top_k=2, cursor="eyJvZmZzZXQiOjJ9")
    assert [row["id"] for row in received.json["rows"]] == ["t-5"]
    assert received.json["rows"][0]["$score"] == pytest.approx(0.031746031746031744, abs=1e-12)
    assert received.json["next_cursor"] is None
    assert "x-layer-next-cursor" not in received
    assert "$fused" not in received.json["rows"][0]


async def test_all_legs_are_on_their_way_at_once(edge: EdgeCaller, store: ScriptedStore) -> None:
    legs = Legs(store, worked_example)
    legs.gate = asyncio.Barrier(3)  # no leg is answered until all are asked
    assert (await query(edge, HAMMAR)).status == 200
    assert legs.in_flight_max == 3


async def test_filters_nest_from_the_callers_own_outwards(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    legs = Legs(store, worked_example)
    own, time = ["kind", "Eq", "saw"], ["_hevlayer_upserted_at", "Lte", 7]
    received = await query(
        edge, ["text", "HybridText", "hand", {"fuzziness": 1}], filters=own, as_of=7,
        include_attributes=["vector", "kind"],
    )  # fmt: skip
    assert {str(asked["filters"]) for asked in legs.asked} == {
        str(["And", [own, time]]),
        str(["And", [["And", [own, like("hand", RULES[:2])]], time]]),
    }
    assert all(asked["include_attributes"] == ["kind"] for asked in legs.asked)
    assert received["x-layer-warning"] == "vector_attribute_dropped"


async def test_attributes_are_those_of_the_first_leg_and_never_a_vector(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    def told(body: Any) -> bytes:
        return rows(scored("t-1", leg=label_of(body), vector=[0.5]))

    Legs(store, told)
    received = await query(edge, ["text", "HybridText", "hand"], include_attributes=True)
    (row,) = received.json["rows"]
    assert (set(row), row["leg"]) == ({"id", "$score", "leg"}, "bm25")


@pytest.mark.parametrize("status", [422, 501])
async def test_legs_whose_operator_the_store_does_not_know_are_left_out(
    edge: EdgeCaller, store: ScriptedStore, status: int
) -> None:
    def told(body: Any) -> bytes:
        if label_of(body) == "bm25":
            return rows()
        return answer({"error": "unknown variant `Fuzzy`"}, status, connection="close")

    Legs(store, told)
    received = await query(edge, HAMMAR)
    assert (received.status, received.json["rows"]) == (200, [])
    assert received.json["hybrid"]["legs"] == 1
    assert "surfaced" not in received.json["hybrid"]


@pytest.mark.parametrize(
    ("refused", "status"),
    [("hand", 400), ("hammar", 400), ("bm25", 400), ("bm25", 422), ("hand", 503), ("hand", 404)],
)
async def test_other_refusals_of_a_leg_are_relayed(
    edge: EdgeCaller, store: ScriptedStore, refused: str, status: int
) -> None:
    said = {"status": "error", "error": f"no {refused}"}

    def told(body: Any) -> bytes:
        if label_of(body) == refused:
            return answer(said, status, retry_after="7", connection="close")
        return rows()

    Legs(store, told)
    received = await query(edge, HAMMAR)
    assert (received.status, received.json, received["retry-after"]) == (status, said, "7")


async def test_a_leg_that_the_store_has_no_time_for_is_sent_once_more(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    refused: list[str] = []

    def told(body: Any) -> bytes:
        if label_of(body) not in refused:
            refused.append(label_of(body))
            return answer({"error": "later"}, 429, connection="close")
        return worked_example(body)

    legs = Legs(store, told)
    received = await query(edge, HAMMAR)
    assert (received.status, received.json["hybrid"]["legs"]) == (200, 3)
    assert len(legs.asked) == 6


async def test_a_text_of_stop_words_has_one_leg(edge: EdgeCaller, store: ScriptedStore) -> None:
    legs = Legs(store, worked_example)
    received = await query(edge, ["text", "HybridText", "to be or not"])
    assert [label_of(asked) for asked in legs.asked] == ["bm25"]
    hybrid = received.json["hybrid"]
    assert (hybrid["tokens"], hybrid["stopwords_dropped"], hybrid["legs"]) == ([], 4, 1)
    kept = await query(edge, ["text", "HybridText", "to be", {"stopwords": False}])
    assert (kept.json["hybrid"]["tokens"], kept.json["hybrid"]["stopwords"]) == (
        ["to", "be"],
        False,
    )
    own = await query(edge, ["text", "HybridText", "to be", {"stopwords": ["TO"]}])
    assert (own.json["hybrid"]["tokens"], own.json["hybrid"]["stopwords"]) == (["be"], ["to"])


async def test_rows_that_only_a_misspelling_finds_are_surfaced(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    texts = {"far": "hand hamster saw", "near": "hand hammer", "exact": ["hammar", None, "drill"]}

    def told(body: Any) -> bytes:
        if body["rank_by"] != ["id", "asc"]:
            return rows()
        found = [{"id": id_, "text": text, "n": 1} for id_, text in texts.items()]
        return rows(
            [{key: row[key] for key in ("id", *body["include_attributes"])} for row in found]
        )

    legs = Legs(store, told)
    own = ["kind", "Eq", "saw"]
    received = await query(
        edge, ["text", "HybridText", "hammar"], filters=own, include_attributes=["n"],
        include_leg_breakdown=True,
    )  # fmt: skip
    assert legs.asked[-1] == {
        "rank_by": ["id", "asc"],
        "top_k": 50,
        "consistency": {"level": "eventual"},
        "filters": ["And", [own, like("hammar")]],
        "include_attributes": ["n", "text"],
    }
    assert [row["id"] for row in received.json["rows"]] == ["exact", "near", "far"]
    assert received.json["rows"][0] == {
        "id": "exact",
        "$score": pytest.approx(1 / 61),
        "n": 1,
        "$fused": {"legs": [{"leg": "fuzzy:hammar", "rank": 1, "score": None}]},
    }
    assert received.json["hybrid"]["surfaced"] is True
    assert received.json["hybrid"]["legs"] == 1
    asked_for = await query(edge, ["text", "HybridText", "hammar"], include_attributes=["text"])
    assert asked_for.json["rows"][1] == {
        "id": "near",
        "$score": pytest.approx(1 / 62),
        "text": "hand hammer",
    }
    assert legs.asked[-1]["include_attributes"] == ["text"]


@pytest.mark.parametrize(
    ("rank_by", "fields", "word"),
    [
        (["text", "HybridText", "a . é"], {}, "rank_by[2]"),
        (["text", "HybridText", "hand", {"boost": 2}], {}, "boost"),
        (["text", "HybridText", "hand"], {"vector": [1]}, "vector"),
        (["text", "HybridText", "hand"], {"cursor": "eyJvZmZzZXQiOjk5OTV9"}, "top_k"),
        (["text", "HybridText", "hand"], {"cursor": "x"}, "cursor"),
        (["text", "HybridText", "hand"], {"top_k": 10001}, "top_k"),
        (["text", "Auto", "!"], {}, "rank_by[2]"),
        (["text", "Auto", "hand", {"route": "semantic"}], {}, "vector"),
        (["text", "Auto", "hand", {"route": "fused"}], {}, "vector"),
        (["text", "Auto", "hand", {"threads": 2}], {}, "threads"),
    ],
)
async def test_a_bad_search_asks_the_store_nothing(
    edge: EdgeCaller, store: ScriptedStore, rank_by: object, fields: dict[str, object], word: str
) -> None:
    legs = Legs(store, worked_example)
    received = await query(edge, rank_by, **fields)
    assert (received.status, received.json["error"]) == (422, "validation_error")
    assert word in received.json["message"]
    assert legs.asked == []


async def test_a_search_is_one_whatever_stands_beside_it(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    Legs(store, worked_example)
    received = await query(edge, HAMMAR, queries=[], limit=1, rerank_by=["RRF"])
    assert received.json["hybrid"]["legs"] == 3


async def test_searches_are_counted(edge: EdgeCaller, store: ScriptedStore) -> None:
    of_tools = {"namespace": "tools", "store_kind": "turbopuffer"}
    counted: list[tuple[str, dict[str, str]]] = [
        ("hevlayer_hybrid_text_queries_total", of_tools | {"status": "ok"}),
        ("hevlayer_hybrid_text_queries_total", of_tools | {"status": "layer_error"}),
        ("hevlayer_hybrid_text_tokens_sum", of_tools),
        (
            "hevlayer_query_router_decisions_total",
            of_tools | {"route": "fused", "executed": "false"},
        ),
    ]

    async def figures() -> list[float]:
        text = (await edge("GET", "/metrics")).body.decode()
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        return [
            sum(one.value for one in samples if (one.name, one.labels) == wanted)
            for wanted in counted
        ]

    before = await figures()
    Legs(store, worked_example)
    await query(edge, HAMMAR)
    await query(edge, ["text", "HybridText", "!"])
    await query(edge, ["text", "Auto", "hand saw blade"])
    after = await figures()
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 2, 1]
