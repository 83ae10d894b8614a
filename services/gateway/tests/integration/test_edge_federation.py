"""Queries of many namespaces over HTTP: what each is asked, and how their answers are merged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from layer_gateway_testing.federation import asked, bothered, federation, filled, placed, query
from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.scripted_store import Exchange, ScriptedStore, answer, scripted_store

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store() -> AsyncIterator[ScriptedStore]:
    async with scripted_store() as store:
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(
    store: ScriptedStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    async with federation(store, tmp_path_factory.mktemp("profiles")) as address:
        yield address


@pytest.fixture
def edge(address: str, store: ScriptedStore) -> EdgeCaller:
    return filled(address, store)


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
