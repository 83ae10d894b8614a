"""The store answers alike directly and through the gateway, whatever is asked of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from turbopuffer import Turbopuffer

from layer_testing.system import LocalSystem

NAMESPACE = "same-answers"
HEADERS = {"authorization": "Bearer any"}
TIMED = {"performance", "billing"}

SCHEMA: dict[str, Any] = {
    "text": {"type": "string", "full_text_search": {"stemming": True}},
    "path": {"type": "string", "glob": True, "regex": True, "filterable": True},
    "tags": "[]string",
    "on": "datetime",
    "price": "float",
}
WORDS = ["walk", "walking", "sea", "bread", "wood", "river", "stone", "light"]


def row(number: int) -> dict[str, Any]:
    words = [WORDS[(number * step) % len(WORDS)] for step in (1, 2, 3)]
    found: dict[str, Any] = {
        "id": number,
        "vector": [number / 50, 1 - number / 50, 0.5],
        "text": " ".join(words),
        "path": f"/shelf/{number % 4}/book-{number}.md",
        "tags": words[: number % 3],
        "price": number * 1.5,
        "on": f"2026-01-{number % 28 + 1:02d}T00:00:00Z",
    }
    return found if number % 5 else {**found, "price": None}


@pytest.fixture(scope="module")
def filled(system: LocalSystem) -> LocalSystem:
    rows: Any = [row(number) for number in range(1, 51)]
    with Turbopuffer(api_key="any", base_url=system.url) as client:
        client.namespace(NAMESPACE).write(
            upsert_rows=rows, distance_metric="euclidean_squared", schema=SCHEMA
        )
    return system


QUERIES: dict[str, dict[str, Any]] = {
    "nearest": {"rank_by": ["vector", "ANN", [0.3, 0.7, 0.5]], "limit": 7},
    "nearest of some": {
        "rank_by": ["vector", "kNN", [0.3, 0.7, 0.5]],
        "limit": 7,
        "filters": ["price", "Gt", 20],
    },
    "best text": {"rank_by": ["text", "BM25", "walking river"], "limit": 9},
    "sum of scores": {
        "rank_by": [
            "Sum",
            [["Product", 2, ["text", "BM25", "sea"]], ["text", "BM25", "bread", {}]],
        ],
        "limit": 9,
    },
    "prefix": {"rank_by": ["text", "BM25", "wa", {"last_as_prefix": True}], "limit": 9},
    "order": {"rank_by": [["price", "desc"], ["id", "asc"]], "limit": 12, "offset": 3},
    "nulls first": {"rank_by": ["price", "asc"], "limit": 12},
    "per shelf": {
        "rank_by": ["path", "asc"],
        "limit": {"total": 6, "per": {"attributes": ["path"], "limit": 1}},
    },
    "missing values": {"rank_by": ["id", "asc"], "limit": 50, "filters": ["price", "Eq", None]},
    "not": {
        "rank_by": ["id", "asc"],
        "limit": 50,
        "filters": ["Not", ["Or", [["id", "Lt", 40], ["tags", "Contains", "sea"]]]],
    },
    "glob": {"rank_by": ["id", "asc"], "limit": 50, "filters": ["path", "Glob", "/shelf/1/*"]},
    "regex": {"rank_by": ["id", "asc"], "limit": 50, "filters": ["path", "Regex", "book-1[0-3]"]},
    "any tag": {"rank_by": ["id", "asc"], "limit": 50, "filters": ["tags", "In", ["sea", "wood"]]},
    "dates": {"rank_by": ["on", "desc"], "limit": 5, "filters": ["on", "Lte", "2026-01-15"]},
    "phrase": {
        "rank_by": ["id", "asc"],
        "limit": 50,
        "filters": ["text", "ContainsTokenSequence", "sea wood"],
    },
    "count": {"aggregate_by": {"n": ["Count"]}, "filters": ["price", "Gte", 30]},
    "groups": {"aggregate_by": {"n": ["Count"]}, "group_by": ["path"], "limit": 60},
    "packed vectors": {"rank_by": ["id", "asc"], "limit": 3, "vector_encoding": "base64"},
    "all but one": {"rank_by": ["id", "asc"], "limit": 3, "exclude_attributes": ["vector"]},
    "several": {
        "queries": [
            {"rank_by": ["vector", "ANN", [0.1, 0.9, 0.5]], "limit": 3},
            {"rank_by": ["text", "BM25", "stone"], "limit": 3},
        ]
    },
    "fused": {
        "queries": [
            {"rank_by": ["vector", "ANN", [0.1, 0.9, 0.5]], "limit": 9},
            {"rank_by": ["text", "BM25", "stone"], "limit": 9},
        ],
        "rerank_by": ["RRF"],
        "limit": 5,
    },
    "an unknown attribute": {"rank_by": ["nope", "asc"], "limit": 3},
    "a filter of the wrong type": {
        "rank_by": ["id", "asc"],
        "limit": 3,
        "filters": ["tags", "ContainsAny", "sea"],
    },
    "no limit": {"rank_by": ["id", "asc"]},
    "too many": {"rank_by": ["id", "asc"], "limit": 10_001},
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_a_query_has_one_answer(filled: LocalSystem, query: dict[str, Any]) -> None:
    body = query if "queries" in query or "aggregate_by" in query else _with_attributes(query)
    ours, theirs = (
        httpx.post(f"{url}/v2/namespaces/{NAMESPACE}/query", json=body, headers=HEADERS)
        for url in (filled.url, filled.store_url)
    )
    assert ours.status_code == theirs.status_code
    assert _without_times(ours.json()) == _without_times(theirs.json())


def _with_attributes(query: dict[str, Any]) -> dict[str, Any]:
    if "exclude_attributes" in query:
        return query
    return {"include_attributes": True, **query}


def _without_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in TIMED}
