"""Scans by the unchanged official layer client, from one gateway and from three."""

from __future__ import annotations

from typing import Any

import pytest
from hevlayer import HevlayerError
from hevlayer.models import ScanCountResponse, ScanIdsResponse, ScanJob, ScanValuesResponse

from layer_testing.edge_calls import eventually

GATEWAY_COUNTS = (1, 3)

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""

ROWS: list[dict[str, Any]] = [
    {"id": "t-1", "vector": [1, 0], "kind": "saw", "tags": ["wood", "hand", "wood"], "rating": 5},
    {"id": "t-2", "vector": [1, 0], "kind": "saw", "tags": ["metal"], "rating": 4},
    {"id": "t-3", "vector": [1, 0], "kind": "drill", "tags": [], "rating": 5},
    {"id": "t-4", "vector": [1, 0], "kind": "râpe", "tags": ["wood"], "rating": 5},
    {"id": "t-5", "vector": [0, 1], "kind": "saw", "tags": ["hand", "metal"]},
]
TEXTS = ["hand hammer", "hand saw hand tool", "drill", "rasp", "by hand"]
SCHEMA = {"text": {"type": "string", "full_text_search": True, "fuzzy": True}}
SHA_LENGTH = 64


@pytest.fixture
async def tools(layer: Client, name: str) -> str:
    rows = [{**row, "text": text} for row, text in zip(ROWS, TEXTS, strict=True)]
    body = {"upsert_rows": rows, "distance_metric": "cosine_distance", "schema": SCHEMA}
    await layer.write_namespace(name, body)
    return name


@pytest.fixture
async def faceted(layer: Client, tools: str) -> str:
    """The namespace once its snapshot is taken and every gateway answers from it."""
    policy = {"facetFields": ["tags", "kind", "rating"], "interval": "1s", "retention": "never"}
    await layer.put_snapshot_policy(tools, policy)
    body = {"mode": "count", "filters": ["kind", "Eq", "saw"]}

    async def is_served() -> bool:
        counts = [await layer.create_scan(tools, body) for _ in range(max(GATEWAY_COUNTS))]
        return all(count.served_by == "snapshot" and count.count == 3 for count in counts)

    await eventually(is_served)
    return tools


async def test_rows_are_counted_whoever_is_asked(layer: Client, tools: str) -> None:
    asked: list[tuple[dict[str, Any], int]] = [
        ({}, 5),
        ({"filters": ["kind", "Eq", "saw"]}, 3),
        ({"filters": ["tags", "In", ["wood", "hand"]], "threads": 4}, 3),
        ({"fts": {"field": "text", "query": "hand"}, "exhaustive": True}, 3),
        ({"hybrid_text": {"field": "text", "query": "hammmer", "fuzziness": "auto"}}, 1),
        ({"ann": {"vector": [1.0, 0.0], "radius": 0.1}}, 4),
        ({"between": [0, 1]}, 0),
    ]
    for body, expected in asked:
        found = await layer.create_scan(tools, {"mode": "count", "source": "origin", **body})

        assert isinstance(found, ScanCountResponse)
        assert (found.count, found.served_by, found.bounded) == (expected, "origin", False), body
        assert found.approximate is (True if "ann" in body else None)
        assert found.threads == body.get("threads", 8)


async def test_ids_are_listed_and_paged_through(layer: Client, tools: str) -> None:
    job = await layer.scan(tools, {"mode": "ids", "source": "origin", "page_size": 2})

    assert isinstance(job, ScanJob)
    assert (job.status, job.effective_source, job.documents_scanned) == ("completed", "origin", 5)
    page = await layer.get_scan_results(tools, job.id, limit=2, offset=3)
    assert isinstance(page, ScanIdsResponse)
    assert (page.ids, page.total) == (["t-4", "t-5"], 5)
    assert [one.id for one in (await layer.list_scans(tools)).scans] == [job.id]
    assert (await layer.get_scan(tools, job.id)) == job


async def test_values_are_counted_row_by_row(layer: Client, tools: str) -> None:
    body = {"mode": "values", "field": "tags", "source": "origin", "filters": ["rating", "Gte", 5]}

    job = await layer.scan(tools, body)

    page = await layer.get_scan_results(tools, job.id)
    assert isinstance(page, ScanValuesResponse)
    assert [(one.v, one.n) for one in page.values] == [("wood", 2), ("hand", 1)]
    assert (page.total, page.truncated, job.unique_values) == (2, False, 2)


async def test_a_scan_is_deleted(layer: Client, tools: str) -> None:
    job = await layer.scan(tools, {"mode": "ids"})

    assert (await layer.delete_scan(tools, job.id)).status == "OK"

    for call in (layer.get_scan, layer.get_scan_results, layer.delete_scan):
        with pytest.raises(HevlayerError) as gone:
            await call(tools, job.id)
        assert gone.value.status_code == 404


async def test_a_cache_that_holds_all_of_a_namespace_counts_for_the_store(
    layer: Client, tools: str
) -> None:
    """A namespace is warm through a moment: rows written shortly before it are not counted yet."""

    async def is_warm(job: Any) -> bool:
        found = await layer.get_warm_job(tools, job.id)
        assert found.status != "failed", found.error
        return bool(found.status == "completed")

    async def is_whole() -> bool:
        # Has the index looked at again, which is otherwise left alone for a minute once stable.
        await layer.write_namespace(tools, {"deletes": ["nothing"]})
        job = await layer.warm_namespace(tools)
        await eventually(lambda: is_warm(job))
        found = await layer.create_scan(tools, {"mode": "count"})
        return bool((found.served_by, found.count) == ("cache", len(ROWS)))

    await eventually(is_whole)
    found = await layer.create_scan(tools, {"mode": "count", "filters": ["rating", "Lt", 5]})

    assert (found.count, found.served_by) == (2, "cache")  # a missing rating is below all others


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["kind", "In", ["saw", "drill"]], 4),
        (["rating", "Eq", 5], 3),
        (["kind", "Eq", "hoe"], 0),
        (["kind", "in", ["saw", "saw"]], 3),
        (["tags", "In", ["wood"]], 2),
    ],
)
async def test_a_snapshot_counts_what_the_worked_example_says(
    layer: Client, faceted: str, filters: list[Any], count: int
) -> None:
    found = await layer.create_scan(faceted, {"mode": "count", "filters": filters})

    assert (found.count, found.served_by) == (count, "snapshot")
    assert len(found.snapshot_sha) == SHA_LENGTH
    assert found.watermark_ms > 0
    assert (found.bounded, found.threads) == (None, None)


async def test_what_a_snapshot_cannot_tell_is_left_to_the_rows(layer: Client, faceted: str) -> None:
    for filters in (["tags", "Eq", "wood"], ["tags", "In", ["wood", "hand"]], ["kind", "Eq", None]):
        body = {"mode": "count", "filters": filters, "source": "snapshot"}
        with pytest.raises(HevlayerError) as refused:
            await layer.create_scan(faceted, body)
        assert refused.value.status_code == 412
    found = await layer.create_scan(faceted, {"mode": "count"})
    assert found.served_by in ("cache", "origin")


async def test_values_of_a_facet_are_there_at_once(layer: Client, faceted: str) -> None:
    job = await layer.create_scan(faceted, {"mode": "values", "field": "tags"})

    assert isinstance(job, ScanJob)
    assert (job.status, job.effective_source, job.documents_scanned) == ("completed", "snapshot", 6)
    assert job.unique_values == 3
    assert job.watermark_ms is not None
    page = await layer.get_scan_results(faceted, job.id)
    assert [(one.v, one.n) for one in page.values] == [("hand", 2), ("metal", 2), ("wood", 2)]
