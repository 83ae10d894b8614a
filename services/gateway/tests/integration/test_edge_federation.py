"""Queries of many namespaces over HTTP: what each is asked, and what becomes of their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hevlayer.models import FederatedQueryResponse

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.scripted_store import Exchange, ScriptedStore, answer, scripted_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROFILE = {
    "model": "small",
    "normalization": "l2",
    "outputDim": 2,
    "distanceMetric": "cosine_distance",
}
PROFILES = {
    "tools": PROFILE,
    "screws": PROFILE,
    "other": PROFILE | {"model": "large"},
    "wide": PROFILE,
}
TOOLS = [("t-2", 0.1), ("t-4", 0.25), ("t-1", 0.3)]
PARTS = [("p-9", 0.4), ("p-3", 0.45)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store() -> AsyncIterator[ScriptedStore]:
    async with scripted_store() as store:
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(
    store: ScriptedStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    profiles = tmp_path_factory.mktemp("profiles") / "profiles.yaml"
    profiles.write_text(json.dumps(PROFILES))
    async with gateway_over(
        store.url,
        LAYER_GATEWAY_UPSTREAM_TIMEOUT_S="2",
        LAYER_GATEWAY_FACTS_TTL_S="0",
        LAYER_GATEWAY_EMBEDDING_PROFILES_PATH=str(profiles),
        LAYER_FEDERATED_QUERY_MAX_NAMESPACES="40",
        CONSISTENCY_POLL_INTERVAL_MS="20",
        CONSISTENCY_STABLE_POLL_INTERVAL_MS="20",
    ) as process:
        yield process.addresses["http"]


@pytest.fixture
def edge(address: str, store: ScriptedStore) -> EdgeCaller:
    store.requests.clear()
    store.answers.clear()
    holding(store, "tools", TOOLS)
    holding(store, "parts", PARTS)
    holding(store, "screws", [("s-1", 0.2)])
    holding(store, "other", [("o-1", 0.2)])
    return EdgeCaller(address, key=KEY)


def holding(store: ScriptedStore, name: str, ranked: list[tuple[str, float]]) -> None:
    store.namespace(
        name,
        rows=tuple({"id": id_, "$dist": distance} for id_, distance in ranked),
        vector="[2]f32",
        _hevlayer_upserted_at="int",
        kind="string",
        rating="int",
        text="string",
    )
    metadata = {"index": {"status": "up-to-date"}}
    store.answers[f"GET /v2/namespaces/{name}/metadata"] = answer(metadata)


def failing(store: ScriptedStore, name: str, body: object, status: int) -> None:
    store.answers[f"POST /v2/namespaces/{name}/query"] = answer(body, status)


def asked(store: ScriptedStore, name: str) -> list[Any]:
    """Return the queries of a namespace, without those for its marker row."""
    requests = store.asked(f"POST /v2/namespaces/{name}/query")
    return [one.json for one in requests if b"namespace_meta" not in one.body]


def bothered(store: ScriptedStore) -> list[str]:
    """Return what was asked besides the polls of indexes, which come when they will."""
    paths = [f"{one.method} {one.path}" for one in store.requests]
    return [path for path in paths if not path.endswith("/metadata")]


async def query(edge: EdgeCaller, **body: object) -> EdgeAnswer:
    received = await edge("POST", "/v2/query", {"vector": [0.1, 0.2]} | body)
    if received.status == 200:
        FederatedQueryResponse.model_validate(received.json)
    return received


def placed(received: EdgeAnswer) -> list[tuple[str, str, int]]:
    return [(row["$namespace"], row["id"], row["$rank"]) for row in received.json["rows"]]


async def test_distances_compare_where_the_embeddings_are_the_same(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    received = await query(edge, top_k=3, namespaces=["tools", "screws", "tools"])
    assert placed(received) == [("tools", "t-2", 1), ("screws", "s-1", 1), ("tools", "t-4", 2)]
    assert received.json["merge"] == {"method": "distance", "route": "fused"}
    assert received.json["rows"][0]["$dist"] == 0.1
    assert asked(store, "tools") == [
        {
            "rank_by": ["vector", "ANN", [0.1, 0.2]],
            "top_k": 10,
            "consistency": {"level": "eventual"},
        }
    ]
    matched = [(one["namespace"], one["matched"]) for one in received.json["namespaces"]]
    assert matched == [("tools", 3), ("screws", 1)]
    assert not {"errors", "next_cursor", "routing", "hybrid"} & received.json.keys()
    assert not {"x-layer-partial", "traceparent", "x-layer-next-cursor"} & set(
        dict(received.headers)
    )


async def test_ranks_are_interleaved_where_a_profile_is_missing(edge: EdgeCaller) -> None:
    received = await query(edge, top_k=3, namespaces=["tools", "parts"])
    assert placed(received) == [("parts", "p-9", 1), ("tools", "t-2", 1), ("parts", "p-3", 2)]
    assert received.json["merge"] == {
        "method": "rank-interleave",
        "route": "fused",
        "downgraded_reason": "missing_embedding_profile",
    }


async def test_ranks_are_interleaved_where_profiles_differ(edge: EdgeCaller) -> None:
    received = await query(edge, namespaces=["tools", "other"])
    assert received.json["merge"]["downgraded_reason"] == "embedding_profile_mismatch"


@pytest.mark.parametrize("namespaces", [["tools", "parts"], ["tools", "other"]])
async def test_strict_refuses_distances_that_do_not_compare(
    edge: EdgeCaller, store: ScriptedStore, namespaces: list[str]
) -> None:
    received = await query(edge, namespaces=namespaces, strict=True)
    assert (received.status, received.json["reason"]) == (422, "EMBEDDING_PROFILES")
    assert asked(store, "tools") == []


async def test_other_orders_are_interleaved_without_excuse(edge: EdgeCaller) -> None:
    received = await query(
        edge, vector=None, rank_by=["text", "BM25", "hand"], namespaces=["tools", "parts"],
        strict=True,
    )  # fmt: skip
    assert received.json["merge"] == {"method": "rank-interleave", "route": "fused"}
    assert [rank for _, _, rank in placed(received)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"top_k": 1}, 10),
        ({"top_k": 30}, 60),
        ({"top_k": 500}, 100),
        ({"top_k": 500, "fusion": {"per_namespace_limit": 7, "rank_constant": 3}}, 7),
    ],
)
async def test_each_namespace_contributes_a_bounded_number_of_rows(
    edge: EdgeCaller, store: ScriptedStore, body: dict[str, object], expected: int
) -> None:
    assert (await query(edge, namespaces=["tools"], **body)).status == 200
    assert asked(store, "tools")[0]["top_k"] == expected


@pytest.mark.parametrize("body", [{}, {"namespaces": None}, {"namespaces": ["*"]}])
async def test_all_namespaces_are_asked_where_none_is_named(
    edge: EdgeCaller, store: ScriptedStore, body: dict[str, object]
) -> None:
    async def listing(exchange: Exchange) -> None:
        is_second = b"cursor=next" in exchange.request.target
        names = ["screws"] if is_second else ["parts", "tools"]
        page: dict[str, object] = {"namespaces": [{"id": name} for name in names]}
        if not is_second:
            page["next_cursor"] = "next"
        await exchange.say(answer(page, connection="close"))

    store.answers["GET /v1/namespaces"] = listing
    received = await query(edge, **body)
    assert [one["namespace"] for one in received.json["namespaces"]] == ["parts", "tools", "screws"]


async def test_a_store_without_namespaces_has_no_rows(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.answers["GET /v1/namespaces"] = answer({"namespaces": []})
    received = await query(edge)
    assert (received.status, received.json["rows"], received.json["namespaces"]) == (200, [], [])


async def test_too_many_namespaces_are_not_asked(edge: EdgeCaller, store: ScriptedStore) -> None:
    listed = {"namespaces": [{"id": f"n{at}"} for at in range(41)]}
    store.answers["GET /v1/namespaces"] = answer(listed)
    received = await query(edge)
    assert (received.status, received.json["reason"]) == (422, "TOO_MANY_NAMESPACES")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"namespaces": []}, "namespaces"),
        ({"namespaces": ["*", "tools"]}, "namespaces"),
        ({"namespaces": ["tools", ""]}, "Namespace"),
        ({"namespaces": [f"n{at}" for at in range(41)]}, "40 namespaces"),
        ({"namespaces": ["tools"], "cursor": "eyJvZmZzZXQiOjJ9"}, "cursor"),
        ({"namespaces": ["tools"], "top_k": 0}, "top_k"),
        ({"namespaces": ["tools"], "fusion": {"per_namespace_limit": 0}}, "per_namespace_limit"),
        ({"namespaces": ["tools"], "vector": None}, "exactly one"),
        ({"namespaces": ["tools"], "vector": [1, 2, 3]}, "2 dimensions"),
        ({"namespaces": [f"n{at}" for at in range(40)], "fusion": {"per_namespace_limit": 5000}},
         "per_namespace_limit"),
    ],
)  # fmt: skip
async def test_a_bad_request_asks_no_namespace(
    edge: EdgeCaller, store: ScriptedStore, body: dict[str, object], word: str
) -> None:
    received = await query(edge, **body)
    assert (received.status, received.json["error"]) == (422, "validation_error")
    assert word in received.json["message"]
    assert bothered(store) == []


async def test_a_profile_that_the_schema_contradicts_is_refused(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("wide", vector="[3]f32")
    received = await query(edge, namespaces=["tools", "wide"], nearest_to_id=None)
    assert (received.status, received.json["reason"]) == (422, "EMBEDDING_DIMENSION")


async def test_the_watermark_is_the_earliest(edge: EdgeCaller) -> None:
    async def known() -> list[int]:
        received = await query(edge, namespaces=["parts", "tools"])
        found = [one.get("stable_as_of") for one in received.json["namespaces"]]
        return [int(received["x-layer-stable-as-of"]), *found] if all(found) else []

    header, *found = await eventually(known)
    assert header == min(found)


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


async def test_sixteen_namespaces_are_asked_at_a_time(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    waiting = 0
    waiting_max = 0
    release = asyncio.Event()

    async def held(exchange: Exchange) -> None:
        nonlocal waiting, waiting_max
        waiting += 1
        waiting_max = max(waiting_max, waiting)
        if waiting == 16:
            release.set()
        await release.wait()
        waiting -= 1
        await exchange.say(answer({"rows": []}, connection="close"))

    names = [f"n{at}" for at in range(40)]
    for name in names:
        store.answers[f"POST /v2/namespaces/{name}/query"] = held
    received = await query(edge, namespaces=names)
    assert len(received.json["namespaces"]) == 40
    assert waiting_max == 16


async def test_searches_run_in_every_namespace(edge: EdgeCaller, store: ScriptedStore) -> None:
    body = {"vector": None, "namespaces": ["tools", "parts"]}
    hybrid = await query(edge, rank_by=["text", "HybridText", "hand saw"], **body)
    assert hybrid.json["hybrid"]["tokens"] == ["hand", "saw"]
    assert hybrid.json["merge"] == {"method": "rank-interleave", "route": "fused"}
    assert set(hybrid.json["rows"][0]) == {"id", "$score", "$namespace", "$rank"}
    assert len(asked(store, "tools")) == 3
    words = "one two three four five six seven eight"
    rank_by = ["text", "Auto", words, {"vector": [0.1, 0.2]}]
    semantic = await query(edge, rank_by=rank_by, **body)
    assert semantic.json["routing"]["route"] == "semantic"
    assert semantic.json["merge"]["downgraded_reason"] == "missing_embedding_profile"


async def test_a_deferred_search_asks_no_namespace(edge: EdgeCaller, store: ScriptedStore) -> None:
    rank_by = ["text", "Auto", "hand saw blade"]
    received = await query(edge, vector=None, rank_by=rank_by, namespaces=["tools", "parts"])
    assert received.json["routing"]["executed"] is False
    assert (received.json["rows"], bothered(store)) == ([], [])
    assert [one["matched"] for one in received.json["namespaces"]] == [0, 0]


async def test_the_store_may_refuse_to_list(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.answers["GET /v1/namespaces"] = answer({"error": "no"}, 403)
    received = await query(edge)
    assert (received.status, received.json) == (403, {"error": "no"})


async def test_the_route_for_reranking_says_that_it_is_not_offered(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    received = await edge("POST", "/v2/namespaces/tools/search", {"query": "saw"})
    assert received.status == 422
    assert received.json["error"] == "UnsupportedByStore"
    assert received.json["route"] == "searchNamespace"
    assert bothered(store) == []


async def test_every_leg_is_cut_at_the_watermark_of_its_namespace(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    names = ["tools", "parts"]
    search = {"vector": None, "rank_by": ["text", "HybridText", "hand saw"], "namespaces": names}

    async def known() -> bool:
        received = await query(edge, **search)
        return all("stable_as_of" in one for one in received.json["namespaces"])

    await eventually(known)
    for name in names:
        metadata = {"index": {"status": "updating", "unindexed_bytes": 7}}
        store.answers[f"GET /v2/namespaces/{name}/metadata"] = answer(metadata)

    async def all_cut() -> EdgeAnswer | None:
        store.requests.clear()
        received = await query(edge, **search)
        legs = [body for name in names for body in asked(store, name)]
        return received if all("_upserted_at" in str(leg.get("filters")) for leg in legs) else None

    received = await eventually(all_cut)
    assert received is not None
    for one in received.json["namespaces"]:
        cut = ["_hevlayer_upserted_at", "Lte", one["stable_as_of"]]
        filters = [leg["filters"] for leg in asked(store, one["namespace"])]
        assert len(filters) == 3
        assert all(found == cut or found[1][-1] == cut for found in filters)
