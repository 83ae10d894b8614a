"""Searches while the store's index is behind: one state of the namespace, in every leg."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEMA = {"text": {"type": "string", "full_text_search": True, "fuzzy": True}}
FOREVER_MS = 3_600_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    directory = tmp_path_factory.mktemp("vectorstore")
    async with embedded_store(directory, LAYER_VECTORSTORE_FAULTS_ENABLED="true") as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(store_url: str) -> AsyncIterator[EdgeCaller]:
    async with gateway_over(
        store_url,
        CONSISTENCY_POLL_INTERVAL_MS="20",
        CONSISTENCY_STABLE_POLL_INTERVAL_MS="20",
    ) as process:
        yield EdgeCaller(process.addresses["http"], key=KEY)


async def set_faults(store_url: str, **faults: object) -> None:
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {KEY}"}) as session,
        session.put(f"{store_url}/_layer/faults", json=faults) as answer,
    ):
        assert answer.status == 200


async def write(edge: EdgeCaller, namespace: str, *ids: str) -> None:
    rows = [{"id": id_, "text": f"hammer blade {id_}", "vector": [1.0, 0.0]} for id_ in ids]
    body = {"upsert_rows": rows, "schema": SCHEMA, "distance_metric": "euclidean_squared"}
    assert (await edge("POST", f"/v2/namespaces/{namespace}", body)).status == 200


def ids_of(answer: EdgeAnswer) -> set[str]:
    return {row["id"] for row in answer.json["rows"]}


def newest(answer: EdgeAnswer) -> int:
    return max(int(row["_hevlayer_upserted_at"]) for row in answer.json["rows"])


@pytest.mark.parametrize("shard_count", [None, 4])
@pytest.mark.parametrize(
    "rank_by",
    [
        ["text", "HybridText", "hammer blade"],
        ["text", "HybridText", "hammar"],
        ["text", "Auto", "fine hammer blades", {"vector": [1.0, 0.0]}],
    ],
    ids=["hybrid", "misspelt", "fused"],
)
async def test_a_search_sees_the_state_at_the_watermark(
    edge: EdgeCaller, store_url: str, rank_by: list[Any], shard_count: int | None
) -> None:
    name = f"{rank_by[2].replace(' ', '-')}-{shard_count}"

    async def search() -> EdgeAnswer:
        body = {"rank_by": rank_by, "top_k": 10, "include_attributes": True}
        found = await edge("POST", f"/v2/namespaces/{name}/query", body)
        assert found.status == 200, found.body
        return found

    await set_faults(store_url)
    await write(edge, name, "a", "b")
    if shard_count is not None:
        body = {"shard_count": shard_count}
        started = await edge("POST", f"/v2/namespaces/{name}/init", body)
        assert started.json["layer"]["shard_state"] == "ready"

    async def covers_all() -> EdgeAnswer | None:
        found = await search()
        if "x-layer-stable-as-of" not in found or len(ids_of(found)) < 2:
            return None
        return found if newest(found) <= int(found["x-layer-stable-as-of"]) else None

    before = await eventually(covers_all)
    assert before is not None
    await set_faults(store_url, index_lag_ms=FOREVER_MS)
    await write(edge, name, "c")
    during = await search()
    watermark = int(during["x-layer-stable-as-of"])
    assert watermark >= int(before["x-layer-stable-as-of"])
    assert newest(during) <= watermark
    assert ids_of(during) == {"a", "b"}
    await set_faults(store_url)

    async def has_all() -> EdgeAnswer | None:
        found = await search()
        return found if "c" in ids_of(found) else None

    after = await eventually(has_all)
    assert after is not None
    assert int(after["x-layer-stable-as-of"]) >= watermark


async def test_faults_of_the_store_never_make_a_wrong_answer(
    edge: EdgeCaller, store_url: str
) -> None:
    await set_faults(store_url)
    names = ["faulty-1", "faulty-2"]
    for name in names:
        await write(edge, name, "row-a", "row-b", "row-c")
    hybrid = {"rank_by": ["text", "HybridText", "hammer blade row-b"], "top_k": 10}
    federated = hybrid | {"namespaces": names}
    right = (await edge("POST", f"/v2/namespaces/{names[0]}/query", hybrid)).json["rows"]
    merged = (await edge("POST", "/v2/query", federated)).json["rows"]
    statuses = set()
    await set_faults(store_url, error_rate=0.1, drop_rate=0.05)
    for _ in range(40):
        alone = await edge("POST", f"/v2/namespaces/{names[0]}/query", hybrid)
        statuses.add(alone.status)
        assert alone.status != 200 or alone.json["rows"] == right
        together = await edge("POST", "/v2/query", federated)
        statuses.add(together.status)
        if together.status == 200:
            answered = [one["namespace"] for one in together.json["namespaces"]]
            assert ("x-layer-partial" in together) is (answered != names)
            kept = [row for row in merged if row["$namespace"] in answered]
            assert together.json["rows"] == kept
    assert {200, 503} <= statuses <= {200, 502, 503}
    await set_faults(store_url)
