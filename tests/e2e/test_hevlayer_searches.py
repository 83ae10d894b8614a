"""Searches and federated queries of the unchanged official layer client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hevlayer import HevlayerError
from hevlayer.models import FederatedQueryRequest, FederatedQueryResponse, QueryRequest

from layer_testing.system import LocalSystem, local_system

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""

SCHEMA = {"text": {"type": "string", "full_text_search": True, "fuzzy": True}}
ROWS = [
    {"id": "t-1", "text": "hand hammer", "kind": "hammer", "vector": [0.9, 0.1]},
    {"id": "t-2", "text": "hand saw hand tool", "kind": "saw", "vector": [0.5, 0.5]},
    {"id": "t-3", "text": "drill", "kind": "drill", "vector": [0.1, 0.9]},
    {"id": "t-5", "text": "by hand", "kind": "saw", "vector": [1.0, 0.0]},
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """A system of its own: a query of all namespaces needs them to have the same attributes."""
    with local_system(tmp_path_factory.mktemp("s")) as running:
        yield running


@pytest.fixture(params=["unsharded", "sharded"])
async def tools(layer: Client, name: str, request: pytest.FixtureRequest) -> str:
    body = {"upsert_rows": ROWS, "schema": SCHEMA, "distance_metric": "euclidean_squared"}
    await layer.write_namespace(name, body)
    if request.param == "sharded":
        started = await layer.init_namespace(name, {"shard_count": 4})
        assert started.layer.shard_state == "ready"
    return name


async def test_a_misspelt_word_is_found(layer: Client, tools: str) -> None:
    body = QueryRequest(
        rank_by=["text", "HybridText", "Hand hammar, a hand"],
        top_k=2,
        include_attributes=["kind"],
        include_leg_breakdown=True,
    )
    found = await layer.query_namespace(tools, body, raw_query="Hand hammar, a hand", tags=["a"])
    assert [(row["id"], row["kind"]) for row in found.rows] == [("t-1", "hammer"), ("t-2", "saw")]
    assert [leg["leg"] for leg in found.rows[0]["$fused"]["legs"]] == [
        "bm25",
        "fuzzy:hand",
        "fuzzy:hammar",
    ]
    assert (found.hybrid.tokens, found.hybrid.legs) == (["hand", "hammar"], 3)
    rest = await layer.query_namespace(tools, body.model_copy(update={"cursor": found.next_cursor}))
    assert [row["id"] for row in rest.rows] == ["t-5"]
    assert rest.next_cursor is None


async def test_a_word_that_is_only_misspelt_is_surfaced(layer: Client, tools: str) -> None:
    found = await layer.query_namespace(tools, {"rank_by": ["text", "HybridText", "hammar"]})
    assert [row["id"] for row in found.rows] == ["t-1"]
    assert "text" not in found.rows[0]
    assert found.hybrid.surfaced is True


async def test_the_length_of_a_text_chooses_how_to_search(layer: Client, tools: str) -> None:
    def body(text: str, **options: object) -> dict[str, object]:
        return {"rank_by": ["text", "Auto", text, options], "top_k": 2}

    short = await layer.query_namespace(tools, body("hand saw"))
    assert (short.routing.route, short.rows[0]["id"]) == ("hybrid_text", "t-2")
    long = "what would somebody use to make a hole in a wall"
    deferred = await layer.query_namespace(tools, body(long))
    assert (deferred.routing.executed, deferred.rows) == (False, [])
    found = await layer.query_namespace(tools, body(long, vector=[0.0, 1.0]))
    assert (found.routing.route, found.rows[0]["id"]) == ("semantic", "t-3")
    fused = await layer.query_namespace(tools, body("hand made holes", vector=[0.0, 1.0]))
    assert (fused.routing.route, fused.hybrid.legs) == ("fused", 5)


async def test_a_bad_search_is_refused(layer: Client, tools: str) -> None:
    with pytest.raises(HevlayerError) as refused:
        await layer.query_namespace(tools, {"rank_by": ["text", "HybridText", "saw", {"boost": 2}]})
    assert (refused.value.status_code, refused.value.error) == (422, "validation_error")
    with pytest.raises(HevlayerError) as unprepared:
        await layer.query_namespace(tools, {"rank_by": ["kind", "HybridText", "saw"]})
    assert unprepared.value.status_code == 400


async def test_many_namespaces_answer_together(layer: Client, tools: str) -> None:
    other = f"{tools}-parts"
    # A word of this test alone: what other tests left in the store must not fill the answer.
    word = f"handwheel{uuid4().hex[:12]}"
    rows = [{"id": "p-1", "text": f"{word} of brass", "vector": [0.8, 0.2]}]
    body = {"upsert_rows": rows, "schema": SCHEMA, "distance_metric": "euclidean_squared"}
    await layer.write_namespace(other, body)
    found = await layer.query(
        FederatedQueryRequest(vector=[1.0, 0.0], top_k=3, namespaces=[tools, other])
    )
    assert isinstance(found, FederatedQueryResponse)
    assert [row["id"] for row in found.rows] == ["t-5", "p-1", "t-1"]
    assert found.merge["downgraded_reason"] == "missing_embedding_profile"
    assert [(one.namespace, one.matched) for one in found.namespaces] == [(tools, 4), (other, 1)]
    everywhere = await layer.query({"rank_by": ["text", "HybridText", word], "namespaces": ["*"]})
    assert [(row["$namespace"], row["id"]) for row in everywhere.rows] == [(other, "p-1")]
    assert {tools, other} <= {one.namespace for one in everywhere.namespaces}
    assert everywhere.hybrid.tokens == [word]
    partial = await layer.query({"vector": [1.0, 0.0], "namespaces": [tools, "no-such-namespace"]})
    assert [error.namespace for error in partial.errors] == ["no-such-namespace"]
    with pytest.raises(HevlayerError) as gone:
        await layer.query({"vector": [1.0, 0.0], "namespaces": ["no-such-namespace"]})
    assert gone.value.status_code == 502
