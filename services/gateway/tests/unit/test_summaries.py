"""What history keeps of a query: everything that selects rows, and never a vector."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from layer_gateway.domain.summaries import SUMMARY_BYTES_MAX, count_components, summarise
from layer_wire.queries import decode_query

VECTOR = [0.25] * 300
TEXT = base64.b64encode(struct.pack("<300f", *VECTOR)).decode()


def summary(echo: Any = None, **body: object) -> Any:
    fields = decode_query(json.dumps(body).encode())
    return json.loads(summarise(fields, echo or {}, count_components))


def test_a_layer_query_keeps_its_selection() -> None:
    kept = {
        "top_k": 7,
        "filters": ["And", [["a", "Eq", 1]]],
        "as_of": 5,
        "between": [1, 2],
        "include_attributes": ["a"],
    }
    assert summary(**kept, vector=VECTOR, cursor="x", anything=1) == kept | {"vector_len": 300}
    assert summary(nearest_to_id=["a", 1]) == {"nearest_to_id": ["a", 1], "top_k": 10}
    assert summary(vector=[1], filters=None, as_of=None) == {"vector_len": 1, "top_k": 10}


@pytest.mark.parametrize("vector", [VECTOR, TEXT], ids=["numbers", "base64"])
@pytest.mark.parametrize(
    "make",
    [
        lambda vector: {"vector": vector},
        lambda vector: {"rank_by": ["vector", "ANN", vector]},
        lambda vector: {"rank_by": ["title", "Auto", "red shoes", {"vector": vector}]},
        lambda vector: {"rank_by": ["Sum", [["title", "BM25", "x"], ["v", "ANN", vector]]]},
        lambda vector: {"queries": [{"vector": vector}, {"rank_by": ["v", "kNN", vector]}]},
    ],
    ids=["vector", "ANN", "Auto", "nested", "multi-query"],
)
def test_a_vector_is_never_kept_but_its_length_is(make: Any, vector: object) -> None:
    found = json.dumps(summary(**make(vector)))
    assert "0.25" not in found
    assert TEXT[:40] not in found
    assert '"vector_len": 300' in found


@pytest.mark.parametrize(
    "make",
    [
        lambda vector: {"vector": vector},
        lambda vector: {"rank_by": ["v", "ANN", vector]},
        lambda vector: {"rank_by": ["title", "Auto", "red shoes", {"vector": vector}]},
        lambda vector: {"rank_by": ["Sum", [["title", "BM25", "x"], ["v", "ANN", vector]]]},
        lambda vector: {"rank_by": ["Sum", [["t", "BM25", "x" * 200], ["v", "kNN", vector]]]},
        lambda vector: {"queries": [{"vector": vector}, {"rank_by": ["v", "kNN", vector]}]},
    ],
    ids=["vector", "ANN", "Auto", "nested", "long", "multi-query"],
)
def test_a_short_vector_in_base64_is_told_by_its_place(make: Any) -> None:
    text = base64.b64encode(struct.pack("<2f", 1.0, 0.5)).decode()
    found = json.dumps(summary(**make(text)))
    assert text not in found
    assert '"vector_len": 2' in found


def test_a_text_that_the_store_is_to_embed_is_kept() -> None:
    rank_by = ["title", "Auto", "red shoes", {"vector": ["Embed", "red shoes", {"model": "m"}]}]
    assert summary(rank_by=rank_by)["rank_by"] == rank_by


def test_a_ranking_by_words_is_kept_as_it_is() -> None:
    rank_by = ["title", "HybridText", "red shoes", {"fuzziness": "auto"}]
    found = summary({"hybrid": {"legs": 2}}, rank_by=rank_by, top_k=3, include_leg_breakdown=True)
    assert found == {
        "rank_by": rank_by,
        "top_k": 3,
        "include_leg_breakdown": True,
        "hybrid": {"legs": 2},
    }


def test_a_multi_query_keeps_each_leg() -> None:
    legs = [{"vector": [1, 2], "top_k": 1}, {"rank_by": ["n", "asc"], "filters": ["n", "Gt", 1]}]
    assert summary(queries=legs) == {
        "leg_count": 2,
        "queries": [
            {"vector_len": 2, "top_k": 1},
            {"rank_by": ["n", "asc"], "filters": ["n", "Gt", 1], "top_k": 10},
        ],
    }


def test_a_leg_says_how_many_rows_it_was_asked_for() -> None:
    legs = [
        {"vector": [1], "limit": 5},
        {"aggregate_by": {"n": ["Count"]}},
        {"limit": {"total": 5}},
    ]
    assert summary(queries=legs)["queries"] == [{"vector_len": 1, "top_k": 5}, {}, {}]


def test_a_summary_that_is_too_large_keeps_what_is_small() -> None:
    found = summary(vector=[1, 2], top_k=4, filters=["id", "In", ["x" * 100] * 1000])
    assert found == {"top_k": 4, "vector_len": 2}
    assert len(json.dumps(found)) < SUMMARY_BYTES_MAX
