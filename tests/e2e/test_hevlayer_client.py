"""The unchanged official layer client against the running system."""

from __future__ import annotations

from typing import Any

import pytest
from hevlayer import AsyncHevlayer, HevlayerError, LayerResponse

from layer_testing.edge_calls import eventually
from layer_testing.system import LocalSystem

GATEWAY_COUNTS = (1, 3)

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""

ROWS = [
    {"id": "t-1", "vector": [1.0, 0.0], "kind": "saw", "rating": 5},
    {"id": "t-2", "vector": [0.0, 1.0], "kind": "saw"},
    {"id": "t-3", "vector": [0.7, 0.7], "kind": "drill"},
]


@pytest.fixture
async def tools(layer: Client, name: str) -> str:
    await layer.write_namespace(name, {"upsert_rows": ROWS, "distance_metric": "cosine_distance"})
    return name


async def cache_status(layer: Client, namespace: str, id_: str) -> str | None:
    response = await layer.fetch_document(namespace, id_, with_perf=True)
    assert isinstance(response, LayerResponse)
    return response.perf.cache_status


async def test_a_written_document_is_fetched_from_the_cache(layer: Client, tools: str) -> None:
    document = await layer.fetch_document(tools, "t-1", with_perf=True)
    assert isinstance(document, LayerResponse)
    assert document.perf.cache_status == "hit"
    assert document.data.attributes["kind"] == "saw"
    assert document.data.attributes["_hevlayer_shard"] == 10
    assert "vector" not in document.data.attributes


async def test_a_row_the_store_got_past_layer_is_cached_by_its_first_fetch(
    system: LocalSystem, layer: Client, tools: str
) -> None:
    async with AsyncHevlayer(api_key="any", base_url=system.store_url) as direct:
        await direct.write_namespace(tools, {"upsert_rows": [{"id": "past", "vector": [1, 1]}]})
    assert await cache_status(layer, tools, "past") == "miss"
    assert await cache_status(layer, tools, "past") == "hit"


async def test_documents_are_fetched_in_the_order_asked(layer: Client, tools: str) -> None:
    found = await layer.fetch_documents(
        tools, {"ids": ["t-2", "zz", "t-1"], "include_attributes": ["kind"]}
    )
    assert [(d.id, d.attributes) for d in found.documents] == [
        ("t-2", {"kind": "saw"}),
        ("t-1", {"kind": "saw"}),
    ]
    assert found.missing == ["zz"]


async def test_a_fetch_of_no_attributes_is_an_existence_check(layer: Client, tools: str) -> None:
    assert (await layer.fetch_document(tools, "t-1", include_attributes=[])).attributes == {}
    with pytest.raises(HevlayerError) as missing:
        await layer.fetch_document(tools, "nope", include_attributes=[])
    assert (missing.value.status_code, missing.value.error) == (404, "not_found")


async def test_a_fetch_sees_every_acknowledged_change(layer: Client, tools: str) -> None:
    await layer.write_namespace(tools, {"patch_rows": [{"id": "t-1", "rating": 1}]})
    assert (await layer.fetch_document(tools, "t-1")).attributes["rating"] == 1
    await layer.write_namespace(tools, {"patch_rows": [{"id": "t-1", "rating": None}]})
    assert "rating" not in (await layer.fetch_document(tools, "t-1")).attributes
    await layer.write_namespace(
        tools, {"patch_by_filter": {"filters": ["kind", "Eq", "saw"], "patch": {"kind": "axe"}}}
    )
    assert (await layer.fetch_document(tools, "t-1")).attributes["kind"] == "axe"
    assert await cache_status(layer, tools, "t-3") == "hit"
    await layer.write_namespace(tools, {"deletes": ["t-1"]})
    with pytest.raises(HevlayerError):
        await layer.fetch_document(tools, "t-1")
    await layer.write_namespace(tools, {"delete_by_filter": ["kind", "Eq", "axe"]})
    with pytest.raises(HevlayerError):
        await layer.fetch_document(tools, "t-2")


async def test_a_condition_mirrors_only_what_was_applied(layer: Client, tools: str) -> None:
    written = await layer.write_namespace(
        tools,
        {
            "patch_rows": [{"id": "t-1", "kind": "new"}, {"id": "t-3", "kind": "new"}],
            "patch_condition": ["kind", "Eq", "saw"],
        },
    )
    assert written.rows_patched == 1
    assert (await layer.fetch_document(tools, "t-1")).attributes["kind"] == "new"
    assert (await layer.fetch_document(tools, "t-3")).attributes["kind"] == "drill"


async def test_a_refused_write_leaves_the_cache_as_it_was(layer: Client, tools: str) -> None:
    with pytest.raises(HevlayerError):
        await layer.write_namespace(tools, {"upsert_rows": [{"id": "t-1", "vector": [1, 2, 3]}]})
    assert (await layer.fetch_document(tools, "t-1")).attributes["kind"] == "saw"


async def test_dates_read_back_as_the_store_has_them(layer: Client, name: str) -> None:
    await layer.write_namespace(
        name,
        {
            "upsert_rows": [{"id": "a", "on": "2026-01-02T03:04:05+01:00"}],
            "schema": {"on": "datetime"},
        },
    )
    first = await layer.fetch_document(name, "a")
    second = await layer.fetch_document(name, "a", with_perf=True)
    assert isinstance(second, LayerResponse)
    assert second.perf.cache_status == "hit"
    assert first.attributes == second.data.attributes
    assert str(first.attributes["on"]).startswith("2026-01-02T02:04:05")


async def test_integer_ids_are_fetched_by_their_text(layer: Client, name: str) -> None:
    await layer.write_namespace(name, {"upsert_rows": [{"id": 42, "n": 1}]})
    assert (await layer.fetch_document(name, "42")).attributes["n"] == 1
    found = await layer.fetch_documents(name, {"ids": ["42", "abc"]})
    assert ([d.id for d in found.documents], found.missing) == (["42"], ["abc"])


async def test_nearest_rows_come_by_vector_and_by_example(layer: Client, tools: str) -> None:
    found = await layer.query_namespace(tools, {"vector": [1.0, 0.1], "top_k": 2})
    assert [row["id"] for row in found.rows] == ["t-1", "t-3"]
    like = await layer.query_namespace(tools, {"nearest_to_id": ["t-1", "t-2"], "top_k": 1})
    assert [row["id"] for row in like.rows] == ["t-3"]
    with pytest.raises(HevlayerError) as missing:
        await layer.query_namespace(tools, {"nearest_to_id": ["t-1", "zz", "yy"]})
    assert missing.value.status_code == 404
    assert "zz" in missing.value.message
    assert "yy" in missing.value.message


async def test_pages_cover_every_row_once(layer: Client, tools: str) -> None:
    seen: list[object] = []
    cursor = None
    for _ in range(4):
        page = await layer.query_namespace(
            tools, {"vector": [1.0, 0.1], "top_k": 1, "cursor": cursor}
        )
        seen += [row["id"] for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == ["t-1", "t-3", "t-2"]


async def test_time_travel_by_filter(layer: Client, tools: str) -> None:
    stamp = (await layer.fetch_document(tools, "t-1")).attributes["_hevlayer_upserted_at"]
    before = await layer.query_namespace(tools, {"vector": [1.0, 0.1], "as_of": stamp - 1})
    after = await layer.query_namespace(
        tools, {"vector": [1.0, 0.1], "between": [stamp - 1, stamp]}
    )
    assert (len(before.rows), len(after.rows)) == (0, 3)


async def test_namespaces_are_listed_and_described(layer: Client, tools: str) -> None:
    listed = await layer.list_namespaces(prefix=tools)
    assert [(entry.name, entry.row_count) for entry in listed.namespaces] == [(tools, 3)]
    described = await layer.get_namespace_metadata(tools)
    assert described.layer is not None
    assert (described.layer.shard_state, described.layer.init_state) == ("unsharded", "ready")
    with pytest.raises(HevlayerError) as missing:
        await layer.get_namespace_metadata("no-such-namespace")
    assert missing.value.status_code == 404


async def test_a_namespace_becomes_stable_and_queries_tell_since_when(
    system: LocalSystem, layer: Client, tools: str
) -> None:
    async def watermark() -> int:
        described = (await layer.get_namespace_metadata(tools)).layer
        return int(described.stable_as_of or 0) if described.is_stable else 0

    async def told() -> int:
        found = await layer.query_namespace(tools, {"vector": [1.0, 0.1]})
        return int(found.stable_as_of or 0)

    known = await eventually(watermark)
    queried = await eventually(told)  # each gateway finds out by itself
    assert queried > 0
    assert len(system.urls) > 1 or queried >= known


async def test_a_namespace_is_spread_over_shards(layer: Client, tools: str) -> None:
    answer = await layer.init_namespace(tools, {"shard_count": 4})
    assert (answer.namespace, answer.layer.shard_count) == (tools, 4)
    assert (answer.layer.init_state, answer.layer.scatter_gather_active) == ("ready", True)
    found = await layer.query_namespace(tools, {"vector": [1.0, 0.1]})
    assert [row["id"] for row in found.rows] == ["t-1", "t-3", "t-2"]


async def test_several_legs_are_answered_in_order(layer: Client, tools: str) -> None:
    legs = [{"vector": [1.0, 0.1], "top_k": 1}, {"rank_by": ["id", "desc"], "top_k": 1}]
    for _ in range(2):
        answer = await layer.batch_query_namespace(tools, {"queries": legs})
        assert [result.rows[0]["id"] for result in answer.results] == ["t-1", "t-3"]
        await layer.init_namespace(tools, {"shard_count": 2})


async def test_native_operations_validate(layer: Client, tools: str) -> None:
    assert (
        await layer.query_turbopuffer_namespace(tools, {"aggregate_by": {"n": ["Count"]}})
    ).aggregations == {"n": 3}
    assert (
        (
            await layer.batch_query_namespace(
                tools, {"queries": [{"rank_by": ["id", "asc"], "top_k": 1}] * 2}
            )
        )
        .results[0]
        .rows
    )
    assert (await layer.get_turbopuffer_v1_namespace_metadata(tools)).approx_row_count == 3
    assert "kind" in (await layer.get_turbopuffer_namespace_schema(tools)).model_dump()
    assert (await layer.list_turbopuffer_namespaces(prefix=tools)).namespaces[0].id == tools
    assert (await layer.copy_namespace(f"{tools}-copy", {"copy_from_namespace": tools})).status


async def test_a_deleted_namespace_is_gone_from_the_cache(layer: Client, tools: str) -> None:
    assert (await layer.delete_namespace(tools)).status == "OK"
    with pytest.raises(HevlayerError) as missing:
        await layer.fetch_document(tools, "t-1")
    assert (missing.value.status_code, missing.value.error) == (404, "not_found")
