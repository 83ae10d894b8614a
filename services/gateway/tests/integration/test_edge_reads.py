"""Fetches, and queries by example: what the caller gets, and from where."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess, running
from layer_testing.scripted_store import ScriptedStore

pytestmark = pytest.mark.asyncio(loop_scope="module")


ROWS = [
    {"id": "t-1", "vector": [1.0, 0.0], "kind": "saw", "rating": 5},
    {"id": "t-2", "vector": [0.0, 1.0], "kind": "saw"},
    {"id": "t-3", "vector": [1.0, 1.0], "kind": "drill"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cache(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("cache")
    async with running(
        "layer_cache",
        LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0",
        LAYER_CACHE_DATA_DIRECTORY=str(directory),
    ) as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    cache: ServiceProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EdgeCaller]:
    """Run a gateway over the real store and the real cache, with a few rows in ``tools``."""
    async with (
        embedded_store(tmp_path_factory.mktemp("store")) as url,
        gateway_over(url, LAYER_GATEWAY_CACHE_ADDRESS=cache.addresses["grpc"]) as process,
    ):
        caller = EdgeCaller(process.addresses["http"], key=KEY)
        body = {"upsert_rows": ROWS, "distance_metric": "euclidean_squared"}
        assert (await caller("POST", "/v2/namespaces/tools", body)).status == 200
        # Written past the gateway, so that the cache has not heard of them.
        store = EdgeCaller(url.removeprefix("http://"), key=KEY)
        numbers = {"upsert_rows": [{"id": at, "n": str(at)} for at in (0, 7, 2**64 - 1)]}
        assert (await store("POST", "/v2/namespaces/numbers", numbers)).status == 200
        cold = {"upsert_rows": [{"id": f"c{at}", "n": at} for at in range(12)]}
        assert (await store("POST", "/v2/namespaces/cold", cold)).status == 200
        yield caller


async def fetch(edge: EdgeCaller, target: str, **headers: str) -> EdgeAnswer:
    return await edge("GET", f"/v2/namespaces/{target}", b"", headers)


async def fetch_many(edge: EdgeCaller, name: str, **body: object) -> EdgeAnswer:
    return await edge("POST", f"/v2/namespaces/{name}/documents", body)


class TestFetch:
    """By id, over the real store and the real cache."""

    async def test_a_projection_names_attributes(self, system: EdgeCaller) -> None:
        received = await fetch(system, "tools/documents/t-1?include_attributes=kind,absent")
        assert received.json == {"id": "t-1", "attributes": {"kind": "saw"}}
        assert received["x-layer-cache"] == "hit"
        assert "x-layer-warning" not in received

    async def test_without_a_projection_all_but_the_vector_is_there(
        self, system: EdgeCaller
    ) -> None:
        attributes = (await fetch(system, "tools/documents/t-1")).json["attributes"]
        assert attributes.keys() == {"kind", "rating", "_hevlayer_upserted_at", "_hevlayer_shard"}

    async def test_an_empty_projection_asks_whether_a_row_exists(self, system: EdgeCaller) -> None:
        received = await fetch(system, "tools/documents/t-3?include_attributes=")
        assert received.json == {"id": "t-3", "attributes": {}}
        received = await fetch(system, "tools/documents/zz?include_attributes=")
        assert (received.status, received.json["reason"]) == (404, "DOCUMENT_NOT_FOUND")

    async def test_naming_the_vector_is_warned_of(self, system: EdgeCaller) -> None:
        received = await fetch(system, "tools/documents/t-1?include_attributes=vector,kind")
        assert received.json["attributes"] == {"kind": "saw"}
        assert received["x-layer-warning"] == "vector_attribute_dropped"
        received = await fetch_many(system, "tools", ids=["t-1"], include_attributes=["vector"])
        assert received.json["documents"] == [{"id": "t-1", "attributes": {}}]
        assert received["x-layer-warning"] == "vector_attribute_dropped"

    async def test_a_batch_answers_in_the_order_asked_and_names_what_is_missing(
        self, system: EdgeCaller
    ) -> None:
        received = await fetch_many(
            system, "tools", ids=["t-2", "zz", "t-1", "t-2", "y"], include_attributes=["rating"]
        )
        assert received.json == {
            "documents": [
                {"id": "t-2", "attributes": {}},
                {"id": "t-1", "attributes": {"rating": 5}},
            ],
            "missing": ["zz", "y"],
        }

    async def test_a_miss_is_kept_for_the_next_one(self, system: EdgeCaller) -> None:
        target = "cold/documents/c0?include_attributes=n"
        assert (await fetch(system, target))["x-layer-cache"] == "miss"
        received = await fetch(system, "cold/documents/c0")
        assert received["x-layer-cache"] == "hit"
        assert received.json["attributes"] == {"n": 0}

    async def test_a_batch_is_a_hit_only_as_a_whole(self, system: EdgeCaller) -> None:
        assert (await fetch_many(system, "cold", ids=["c1"]))["x-layer-cache"] == "miss"
        received = await fetch_many(system, "cold", ids=["c2", "c1"])
        assert received["x-layer-cache"] == "miss"
        assert [one["id"] for one in received.json["documents"]] == ["c2", "c1"]
        assert (await fetch_many(system, "cold", ids=["c1", "c2"]))["x-layer-cache"] == "hit"

    async def test_ids_that_are_numbers_are_asked_for_as_numbers(self, system: EdgeCaller) -> None:
        biggest = 2**64 - 1
        received = await fetch_many(
            system, "numbers", ids=[7, "0", str(biggest), "abc", "-1", "07x", str(biggest + 1)],
            include_attributes=["n"],
        )  # fmt: skip
        assert received.status == 200, received.body
        assert [one["attributes"]["n"] for one in received.json["documents"]] == [
            "7", "0", str(biggest),
        ]  # fmt: skip
        assert received.json["missing"] == ["abc", "-1", "07x", str(biggest + 1)]
        assert (await fetch(system, "numbers/documents/7")).json["attributes"]["n"] == "7"
        assert (await fetch(system, "numbers/documents/abc")).status == 404

    async def test_a_text_too_long_for_an_id_is_not_found(self, system: EdgeCaller) -> None:
        long = "y" * 200
        assert (await fetch(system, f"tools/documents/{long}")).status == 404
        received = await fetch_many(system, "tools", ids=[long, "t-1"])
        assert received.status == 200, received.body
        assert received.json["missing"] == [long]

    @pytest.mark.parametrize("target", ["absent/documents/a", "absent/documents"])
    async def test_a_missing_namespace_is_not_found(self, system: EdgeCaller, target: str) -> None:
        body: object = b"" if target.endswith("a") else {"ids": ["a"]}
        method = "POST" if body else "GET"
        received = await system(method, f"/v2/namespaces/{target}", body)
        assert (received.status, received.json["error"]) == (404, "not_found")
        assert received.json["reason"] == "NAMESPACE_NOT_FOUND"

    async def test_no_ids_and_too_many_are_refused(self, system: EdgeCaller) -> None:
        received = await fetch_many(system, "tools", ids=[])
        assert (received.status, received.json["reason"]) == (422, "NO_IDS")
        received = await fetch_many(system, "tools", ids=list(range(100_001)))
        assert (received.status, received.json["reason"]) == (422, "TOO_MANY_IDS")

    async def test_more_ids_than_one_query_takes_are_fetched(self, system: EdgeCaller) -> None:
        ids = [f"c{at}" for at in range(12_000)]
        received = await fetch_many(system, "cold", ids=ids, include_attributes=["n"])
        assert received.status == 200, received.body
        assert [one["id"] for one in received.json["documents"]] == ids[:12]
        assert received.json["missing"] == ids[12:]


async def test_a_batch_is_split_into_queries_the_store_takes(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("split")
    ids = [f"r{at}" for at in range(20_001)]
    assert (await fetch_many(edge, "split", ids=ids)).json["missing"] == ids
    marker, *asked = (request.json for request in store.asked("POST /v2/namespaces/split/query"))
    assert marker["top_k"] == 1
    assert [one["top_k"] for one in asked] == [10_000, 10_000, 1]
    assert asked[0]["filters"] == ["id", "In", ids[:10_000]]
    assert asked[2] == {
        "rank_by": ["id", "asc"],
        "top_k": 1,
        "filters": ["id", "Eq", "r20000"],
        "include_attributes": True,
        "consistency": {"level": "strong"},
    }


async def test_a_gateway_without_a_cache_says_miss(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("uncached", rows=({"id": "a", "k": 1, "vector": [1], "$dist": 0},))
    received = await fetch(edge, "uncached/documents/a")
    assert received.json == {"id": "a", "attributes": {"k": 1}}
    assert received["x-layer-cache"] == "miss"


async def test_escapes_of_a_projection_are_undone_once(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("escaped", rows=({"id": "a", "%41": 1, "A": 2, "a b": 3, "x&y": 4},))
    received = await fetch(edge, "escaped/documents/a?include_attributes=%2541,a+b,x%26y")
    assert received.json["attributes"] == {"%41": 1, "a b": 3, "x&y": 4}


async def test_repeated_projections_add_up(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("repeated", rows=({"id": "a", "k": 1, "l": 2, "m": 3},))
    target = "repeated/documents/a?include_attributes=k&include_attributes=l"
    assert (await fetch(edge, target)).json["attributes"] == {"k": 1, "l": 2}


async def test_head_tells_whether_a_document_exists(edge: EdgeCaller, store: ScriptedStore) -> None:
    store.namespace("heads", rows=({"id": "a", "k": 1},))
    for name, status in (("a", 200), ("b", 404)):
        received = await edge("HEAD", f"/v2/namespaces/heads/documents/{name}")
        assert (received.status, received.body) == (status, b"")
        assert received["content-type"] == "application/json"
        assert ("x-layer-cache", "miss") in received.headers or status == 404
    assert store.asked("HEAD /v2/namespaces/heads/documents/a") == []


async def query(edge: EdgeCaller, name: str, **body: object) -> EdgeAnswer:
    return await edge("POST", f"/v2/namespaces/{name}/query", body)


class TestNearestToId:
    """By example, over the real store and the real cache."""

    async def test_the_mean_of_the_examples_is_searched(self, system: EdgeCaller) -> None:
        received = await query(system, "tools", nearest_to_id=["t-1", "t-2"], top_k=2)
        assert received.status == 200, received.body
        assert [one["$dist"] for one in received.json["rows"]] == pytest.approx([0.5, 0.5])

    async def test_every_missing_example_is_named(self, system: EdgeCaller) -> None:
        received = await query(system, "tools", nearest_to_id=["zz", "t-1", "y"])
        assert (received.status, received.json["reason"]) == (404, "EXAMPLES_NOT_FOUND")
        assert "zz, y" in received.json["message"]

    async def test_an_example_without_a_vector_counts_as_missing(
        self, edge: EdgeCaller, store: ScriptedStore
    ) -> None:
        store.namespace("bare", rows=({"id": "a", "vector": [1, 2]}, {"id": "b"}))
        received = await query(edge, "bare", nearest_to_id=["a", "b"])
        assert (received.status, received.json["reason"]) == (404, "EXAMPLES_NOT_FOUND")
        assert received.json["message"] == "No vector is stored for b."

    async def test_examples_differ_in_length(self, edge: EdgeCaller, store: ScriptedStore) -> None:
        rows = ({"id": "a", "vector": [1, 2]}, {"id": "b", "vector": [1]})
        store.namespace("lengths", rows=rows)
        received = await query(edge, "lengths", nearest_to_id=["a", "b"])
        assert (received.status, received.json["reason"]) == (422, "VECTORS_DIFFER")


async def test_no_list_of_attributes_costs_the_gateway_its_cache(system: EdgeCaller) -> None:
    before = (await system("GET", "/health")).json["aerospike"]
    received = await fetch_many(
        system, "tools", ids=["t-1"], include_attributes=["", "kind", "kind", "k" * 100_000]
    )
    assert received.json["documents"] == [{"id": "t-1", "attributes": {"kind": "saw"}}]
    assert received["x-layer-cache"] == "hit"
    many = ",".join(["kind"] * 2_000)
    received = await fetch(system, f"tools/documents/t-1?include_attributes={many}")
    assert received.json == {"id": "t-1", "attributes": {"kind": "saw"}}
    assert received["x-layer-cache"] == "hit"

    names = [f"a{number}" for number in range(1_025)]
    received = await fetch_many(system, "tools", ids=["t-1"], include_attributes=names)
    assert (received.status, received.json["reason"]) == (422, "TOO_MANY_ATTRIBUTES")
    assert "include_attributes" in received.json["message"]
    assert (await system("GET", "/health")).json["aerospike"] == before


async def test_a_killed_cache_shows_in_the_answers_and_is_no_error(
    system: EdgeCaller, cache: ServiceProcess
) -> None:
    await cache.kill()
    for _ in range(2):
        received = await fetch(system, "tools/documents/t-1?include_attributes=kind")
        assert received.json == {"id": "t-1", "attributes": {"kind": "saw"}}
        assert received["x-layer-cache"] == "miss-on-error"
    received = await fetch_many(system, "cold", ids=["c1", "c9"])
    assert [one["id"] for one in received.json["documents"]] == ["c1", "c9"]
    assert received["x-layer-cache"] == "miss-on-error"
    assert (await query(system, "tools", nearest_to_id=["t-1"])).status == 200
    health = (await system("GET", "/health")).json
    assert (health["status"], health["aerospike"]["connected"]) == ("ok", False)
