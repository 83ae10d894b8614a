"""Whatever JSON comes in, no answer is a 5xx and rows that are there stay readable."""

from __future__ import annotations

import random
from typing import Any

import aiohttp
import msgspec

ROUNDS = 1500
WORDS = [
    *("id", "vector", "s", "n", "tags", "text", "upsert_rows", "rank_by", "limit", "filters"),
    *("And", "Or", "Not", "Eq", "In", "Lt", "Contains", "AnyGt", "Glob", "Regex", "Fuzzy", "BM25"),
    *("ANN", "kNN", "SparseKNN", "Sum", "Max", "Product", "Attribute", "Dist", "Decay", "asc"),
    *("ContainsAllTokens", "Saturate", "Embed", "Count", "ForEachUnique", "RRF", "total", "per"),
    *("$ref_new", "$dist", "type", "string", "[2]f32", "uint", "(a", "[", "\x00", "é", "🦊", ""),
]
NUMBERS = [0, 1, -1, 2, 1.5, -0.0, 1e300, 1e-320, 2**53, 2**63, 2**64, -(2**63) - 1, 10**40]
QUERIES: list[dict[str, Any]] = [
    {"rank_by": ["vector", "ANN", [1, 2]], "limit": 3, "filters": ["n", "Gt", 1]},
    {"rank_by": ["text", "BM25", "fox"], "top_k": 3, "include_attributes": ["s"]},
    {"rank_by": ["Sum", [["text", "BM25", "fox"], ["Product", 2, ["n", "Eq", 1]]]], "limit": 5},
    {"rank_by": ["n", "desc"], "limit": {"total": 2, "per": {"attributes": ["s"], "limit": 1}}},
    {"aggregate_by": {"c": ["Count"], "s": ["Sum", "n"]}, "group_by": ["s"], "limit": 3},
    {
        "queries": [{"rank_by": ["id", "asc"], "limit": 2}],
        "rerank_by": ["RRF", {"weights": [1]}],
        "limit": 2,
    },
    {
        "rank_by": ["Decay", ["Dist", ["Attribute", "n"], 3], {"midpoint": 2, "exponent": 2}],
        "limit": 4,
        "compute_attributes": {"h": ["Highlight", "text", {"fragment_limit": 2}]},
    },
    {
        "rank_by": ["id", "asc"],
        "limit": 5,
        "filters": ["And", [["s", "Regex", "a+"], ["text", "ContainsTokenSequence", "a b"]]],
        "compute_attributes": {"d": ["vector", "VectorDist", [1, 2]]},
    },
]
WRITES: list[dict[str, Any]] = [
    {"upsert_rows": [{"id": 5, "vector": [1, 2], "s": "x", "n": 3, "tags": ["a"], "text": "b"}]},
    {"upsert_columns": {"id": [6, 7], "vector": [[1, 2], [3, 4]], "n": [1, None]}},
    {"patch_rows": [{"id": 5, "n": 4}], "patch_condition": ["n", "Lt", {"$ref_new": "n"}]},
    {"delete_by_filter": ["n", "Gt", 100], "deletes": [9]},
    {"patch_by_filter": {"filters": ["n", "Eq", 3], "patch": {"s": "y"}}},
    {"schema": {"fresh": {"type": "string", "full_text_search": {"b": 0.5}}}},
]
FIRST = {
    "upsert_rows": [{"id": 1, "vector": [1, 2], "s": "a", "n": 1, "tags": ["a"], "text": "a fox"}],
    "distance_metric": "cosine_distance",
    "schema": {
        "text": {"type": "string", "full_text_search": True},
        "s": {"type": "string", "regex": True, "glob": True, "fuzzy": True, "filterable": True},
    },
}


def anything(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.randrange(5 if depth > 3 else 7)
    match kind:
        case 0:
            return draw.choice(WORDS)
        case 1:
            return draw.choice(NUMBERS)
        case 2:
            return draw.choice([None, True, False])
        case 3 | 4:
            return draw.choice([*WORDS, *NUMBERS])
        case 5:
            return [anything(draw, depth + 1) for _ in range(draw.randrange(4))]
        case _:
            return {draw.choice(WORDS): anything(draw, depth + 1) for _ in range(draw.randrange(3))}


def mutated(value: Any, draw: random.Random) -> Any:
    """Return ``value`` with one part of it, at any depth, replaced by anything."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        key = draw.choice(sorted(value))
        return value | {key: mutated(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.85:
        index = draw.randrange(len(value))
        return [*value[:index], mutated(value[index], draw), *value[index + 1 :]]
    return anything(draw)


async def test_no_json_is_answered_with_a_server_error(http: aiohttp.ClientSession) -> None:
    draw = random.Random(20240517)  # noqa: S311 -- the same bodies every time
    await expect(http, "/v2/namespaces/fuzz", FIRST, {200})
    paths = {
        "/v2/namespaces/fuzz/query": QUERIES,
        "/v2/namespaces/fuzz": WRITES,
        "/v2/namespaces/fuzz/explain_query": QUERIES,
        "/v1/namespaces/fuzz/schema": [{"fresh": {"type": "string", "filterable": True}}],
        "/v1/namespaces/fuzz/_debug/recall": [{"num": 2, "top_k": 2, "filters": ["n", "Eq", 1]}],
    }
    weights = [10, 6, 1, 1, 1]

    for number in range(ROUNDS):
        path = draw.choices(list(paths), weights)[0]
        body = mutated(draw.choice(paths[path]), draw)
        if number % 10 == 0:
            body = mutated(body, draw)
        await expect(http, path, body, {200, 400, 404, 422})

    everything = {"rank_by": ["id", "asc"], "limit": 10_000, "include_attributes": True}
    await expect(http, "/v2/namespaces/fuzz/query", everything, {200})


async def expect(http: aiohttp.ClientSession, path: str, body: Any, statuses: set[int]) -> None:
    async with http.post(path, data=msgspec.json.encode(body)) as response:
        text = await response.text()
        assert response.status in statuses, (path, body, response.status, text)
        msgspec.json.decode(text)
