"""Searches against a plain reading of their rules, over the answers of the store itself."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = [
    "hammer",
    "hand",
    "handle",
    "saw",
    "drill",
    "drilling",
    "wood",
    "the",
    "Straße",
    "été",
    "by",
]
STOPPED = {"the", "by"}
SCHEMA = {"text": {"type": "string", "full_text_search": True, "fuzzy": True}}
ROWS_COUNT = 60
SEARCHES_COUNT = 25
LEG_ROWS = 200
"""Of each leg, for a page of 40."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edges(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[EdgeCaller, EdgeCaller]]:
    """Return callers of the gateway and of the store behind it."""
    directory = tmp_path_factory.mktemp("vectorstore")
    async with embedded_store(directory) as url, gateway_over(url) as gateway:
        yield (
            EdgeCaller(gateway.addresses["http"], key=KEY),
            EdgeCaller(url.removeprefix("http://"), key=KEY),
        )


def misspelt(word: str, rng: random.Random) -> str:
    if rng.random() < 0.6:
        return word
    at = rng.randrange(len(word))
    return word[:at] + rng.choice("xyz") + word[at + 1 :]


async def store_query(store: EdgeCaller, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await store("POST", "/v2/namespaces/plain/query", body)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["rows"]
    return found


async def by_the_book(
    store: EdgeCaller, text: str, own: object, vector: list[float] | None
) -> list[tuple[str, float]]:
    """Return ids and scores as the rules say, one query after another, nothing clever."""
    tokens: list[str] = []
    for word in text.split():
        token = word.lower()
        if len(token) >= 2 and token not in tokens and token not in STOPPED:
            tokens.append(token)
    rules = [{"min_query_chars": 3 * (d + 1), "distance": d} for d in range(3)]
    legs: list[list[str]] = []
    for token in ["", *tokens[:15]]:
        parts = [] if own is None else [own]
        if token:
            parts.append(["text", "Fuzzy", token, {"max_edit_distance": rules}])
        body: dict[str, Any] = {"rank_by": ["text", "BM25", text], "top_k": LEG_ROWS}
        if parts:
            body["filters"] = ["And", parts]
        legs.append([row["id"] for row in await store_query(store, body)])
    if vector is not None:
        body = {"rank_by": ["vector", "ANN", vector], "top_k": LEG_ROWS}
        if own is not None:
            body["filters"] = own
        legs.append([row["id"] for row in await store_query(store, body)])
    scores: dict[str, float] = {}
    for leg in legs:
        for rank, id_ in enumerate(leg, start=1):
            scores[id_] = scores.get(id_, 0) + 1 / (60 + rank)
    return sorted(scores.items(), key=lambda one: (-round(one[1], 12), one[0]))


async def test_searches_find_what_the_rules_say(edges: tuple[EdgeCaller, EdgeCaller]) -> None:
    gateway, store = edges
    rng = random.Random(11)  # noqa: S311 -- the same rows in every run
    rows = [
        {
            "id": f"r-{at:02}",
            "text": " ".join(rng.choices(WORDS, k=rng.randint(1, 6))),
            "kind": rng.choice(["saw", "drill"]),
            "vector": [rng.random(), rng.random()],
        }
        for at in range(ROWS_COUNT)
    ]
    body = {"upsert_rows": rows, "schema": SCHEMA, "distance_metric": "euclidean_squared"}
    for name in ("plain", "sharded"):
        assert (await gateway("POST", f"/v2/namespaces/{name}", body)).status == 200
    started = await gateway("POST", "/v2/namespaces/sharded/init", {"shard_count": 5})
    assert started.json["layer"]["shard_state"] == "ready"
    compared = 0
    for _ in range(SEARCHES_COUNT):
        text = " ".join(misspelt(word, rng) for word in rng.choices(WORDS, k=rng.randint(3, 5)))
        own = rng.choice([None, ["kind", "Eq", "saw"]])
        vector = rng.choice([None, [0.5, 0.5]])
        expected = await by_the_book(store, text, own, vector)
        if not expected:
            continue  # it would be surfaced
        options: dict[str, object] = {"route": "hybrid_text"}
        if vector is not None:
            options = {"route": "fused", "vector": vector}
        search = {"rank_by": ["text", "Auto", text, options], "top_k": 40, "filters": own}
        for name in ("plain", "sharded"):
            answer = await gateway("POST", f"/v2/namespaces/{name}/query", search)
            if answer.status == 422:
                assert not any(len(word) >= 2 for word in text.split())
                continue
            found = [(row["id"], row["$score"]) for row in answer.json["rows"]]
            by_score = sorted(found, key=lambda one: (-round(one[1], 12), one[0]))
            assert by_score == [(id_, pytest.approx(score)) for id_, score in expected[:40]], text
            compared += 1
    assert compared > SEARCHES_COUNT
