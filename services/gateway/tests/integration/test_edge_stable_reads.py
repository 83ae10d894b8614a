"""Stable reads at the edge, over the real store with an index that lags."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over

pytestmark = pytest.mark.asyncio(loop_scope="module")

STABLE_AS_OF = "x-layer-stable-as-of"
INDEX_LAG_MS = 1500
SEARCH = {"vector": [0.0, 1.0], "top_k": 10, "include_attributes": ["_hevlayer_upserted_at"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeCaller]:
    directory = tmp_path_factory.mktemp("vectorstore")
    async with (
        embedded_store(directory, LAYER_VECTORSTORE_INDEX_LAG_MS=str(INDEX_LAG_MS)) as store_url,
        gateway_over(
            store_url,
            CONSISTENCY_POLL_INTERVAL_MS="20",
            CONSISTENCY_STABLE_POLL_INTERVAL_MS="20",
            CONSISTENCY_SAFETY_MARGIN_MS="5",
            LAYER_GATEWAY_FACTS_TTL_S="0.2",
        ) as process,
    ):
        yield EdgeCaller(process.addresses["http"], key=KEY)


async def write(edge: EdgeCaller, name: str, *ids: str) -> None:
    rows = [{"id": id_, "vector": [1.0, 1.0]} for id_ in ids]
    body = {"upsert_rows": rows, "distance_metric": "euclidean_squared"}
    assert (await edge("POST", f"/v2/namespaces/{name}", body)).status == 200


async def query(edge: EdgeCaller, name: str, **body: Any) -> EdgeAnswer:
    return await edge("POST", f"/v2/namespaces/{name}/query", body or SEARCH)


async def layer(edge: EdgeCaller, name: str) -> Any:
    return (await edge("GET", f"/v2/namespaces/{name}/metadata")).json["layer"]


async def stable(edge: EdgeCaller, name: str) -> int:
    """Wait until the index has been found up to date; return the watermark."""

    async def watermark() -> int | None:
        found = await layer(edge, name)
        return found["stable_as_of"] if found["is_stable"] else None

    return await eventually(watermark) or 0


async def updating(edge: EdgeCaller, name: str) -> None:
    """Wait until the index has been found behind."""

    async def is_behind() -> bool:
        return not (await layer(edge, name))["is_stable"]

    await eventually(is_behind)


async def test_no_watermark_is_told_before_one_is_known(edge: EdgeCaller) -> None:
    await write(edge, "young", "a")
    received = await query(edge, "young")
    assert (received.status, STABLE_AS_OF in received) == (200, False)
    assert (await layer(edge, "young"))["stable_as_of"] is None


async def test_while_an_index_is_behind_no_row_is_newer_than_the_watermark(
    edge: EdgeCaller,
) -> None:
    await write(edge, "busy", "a", "b")
    before = await stable(edge, "busy")
    await write(edge, "busy", "b", "c")
    await updating(edge, "busy")
    for body in (SEARCH, {"queries": [SEARCH, SEARCH]}):
        received = await query(edge, "busy", **body)
        watermark = int(received[STABLE_AS_OF])
        assert watermark >= before
        for result in received.json.get("results", [received.json]):
            assert all(row["_hevlayer_upserted_at"] <= watermark for row in result["rows"])
            assert {row["id"] for row in result["rows"]} <= {"a", "b"}
    after = await stable(edge, "busy")
    assert after > watermark
    received = await query(edge, "busy")
    assert [row["id"] for row in received.json["rows"]] == ["a", "b", "c"]
    assert int(received[STABLE_AS_OF]) >= after


async def test_who_insists_reads_what_is_written_now(edge: EdgeCaller) -> None:
    await write(edge, "insisting", "a")
    await stable(edge, "insisting")
    await write(edge, "insisting", "b")
    await updating(edge, "insisting")
    received = await query(edge, "insisting", **SEARCH, consistency={"level": "strong"})
    assert [row["id"] for row in received.json["rows"]] == ["a", "b"]


async def test_what_is_passed_on_and_refusals_tell_no_watermark(edge: EdgeCaller) -> None:
    await write(edge, "known", "a")
    await stable(edge, "known")
    for body in (
        {"aggregate_by": {"n": ["Count"]}},
        {"rank_by": ["missing", "BM25", "x"], "top_k": 1},
    ):
        assert STABLE_AS_OF not in await query(edge, "known", **body)


async def test_a_deleted_namespace_has_no_watermark(edge: EdgeCaller) -> None:
    await write(edge, "remade", "a")
    await stable(edge, "remade")
    await edge("DELETE", "/v2/namespaces/remade")
    await write(edge, "remade", "a")
    assert STABLE_AS_OF not in await query(edge, "remade")


async def test_rows_that_were_just_given_their_shards_do_not_vanish(edge: EdgeCaller) -> None:
    """Eventual reads do not see the shards until they are indexed."""
    ids = [f"r{at}" for at in range(9)]
    await write(edge, "resharded", *ids)
    await stable(edge, "resharded")
    received = await edge("POST", "/v2/namespaces/resharded/init", {"shard_count": 3})
    assert received.json["layer"]["shard_state"] == "ready"

    async def found() -> list[str]:
        answer = await query(edge, "resharded")
        return [row["id"] for row in answer.json["rows"]]

    async def is_scattered() -> bool:
        assert await found() == ids
        return bool((await layer(edge, "resharded"))["scatter_gather_active"])

    assert not await is_scattered()
    await eventually(is_scattered)
    assert await found() == ids


async def test_a_listing_shows_what_this_call_saw(edge: EdgeCaller) -> None:
    await write(edge, "listed", "a")
    behind = await listed(edge, "listed")
    assert (behind["is_stable"], "stable_as_of_ms" in behind) == (False, False)
    assert behind["index"]["status"] == "updating"
    known = await stable(edge, "listed")
    current = await listed(edge, "listed", page_size=7)
    assert current["is_stable"]
    assert current["stable_as_of_ms"] > known - 1000
    assert abs(current["last_write_ms"] - behind["last_write_ms"]) < 1


async def test_a_listing_is_remembered_until_a_namespace_comes_or_goes(edge: EdgeCaller) -> None:
    await write(edge, "kept-a", "a")
    first = await listed(edge, "kept-a", prefix="kept-")
    await write(edge, "kept-a", "b", "c")
    assert await listed(edge, "kept-a", prefix="kept-") == first
    await write(edge, "kept-b", "a")
    assert (await listed(edge, "kept-a", prefix="kept-"))["row_count"] == 3
    await edge("DELETE", "/v2/namespaces/kept-b")
    received = await edge("GET", "/v2/namespaces?prefix=kept-")
    assert [entry["name"] for entry in received.json["namespaces"]] == ["kept-a"]


@pytest.mark.parametrize("size", ["0", "1001", "-1", "x", "", "1e2"])
async def test_a_page_size_out_of_range_is_refused(edge: EdgeCaller, size: str) -> None:
    received = await edge("GET", f"/v2/namespaces?page_size={size}")
    assert (received.status, received.json["error"]) == (422, "validation_error")
    assert "page_size" in received.json["message"]


async def listed(edge: EdgeCaller, name: str, **parameters: Any) -> Any:
    query_string = "&".join(f"{key}={value}" for key, value in parameters.items())
    received = await edge("GET", f"/v2/namespaces?{query_string}")
    return next(entry for entry in received.json["namespaces"] if entry["name"] == name)
