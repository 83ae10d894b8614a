"""Operations of the official layer client beside writing, searching and fetching."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hevlayer import HevlayerError

from layer_testing.edge_calls import eventually

GATEWAY_COUNTS = (1, 3)

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""

ROWS = [
    {"id": f"t-{at}", "vector": [1.0, at / 10], "kind": "saw" if at % 2 else "drill"}
    for at in range(20)
]


@pytest.fixture
async def tools(layer: Client, name: str) -> str:
    await layer.write_namespace(name, {"upsert_rows": ROWS, "distance_metric": "cosine_distance"})
    return name


async def refused(status: int, call: Any) -> HevlayerError:
    with pytest.raises(HevlayerError) as caught:
        await call
    assert caught.value.status_code == status
    return caught.value


async def test_a_blob_comes_back_from_every_gateway(layer: Client, name: str) -> None:
    body = b"\xff\xd8\xff a picture"
    for warm in (None, False, True):
        kept = await layer.put_blob(name, body, warm=warm)
        assert kept.sha256 == hashlib.sha256(body).hexdigest()
        assert (kept.ref, kept.size) == (f"blob://{name}/{kept.sha256}", len(body))
        assert await layer.get_blob(name, kept.sha256) == body
    await refused(404, layer.get_blob(name, "0" * 64))
    await refused(422, layer.get_blob(name, "short"))
    await refused(422, layer.put_blob(name, b""))


async def test_a_branch_has_the_rows_of_its_source(layer: Client, tools: str) -> None:
    branch = f"{tools}-branch"
    answer = await layer.branch_namespace(branch, {"branch_from_namespace": tools})
    assert answer.status == "OK"
    await layer.write_namespace(branch, {"deletes": ["t-1"]})
    await refused(404, layer.fetch_document(branch, "t-1"))
    assert (await layer.fetch_document(tools, "t-1")).attributes["kind"] == "saw"


async def test_what_is_the_stores_alone_passes(layer: Client, tools: str) -> None:
    recall = await layer.evaluate_turbopuffer_recall(tools, {"num": 2, "top_k": 3})
    assert 0 < recall.avg_recall <= 1
    query = {"rank_by": ["vector", "ANN", [1.0, 0.0]], "top_k": 3}
    assert (await layer.explain_turbopuffer_query(tools, query)).plan_text
    schema = {"kind": {"type": "string", "filterable": True, "full_text_search": True}}
    await layer.update_turbopuffer_namespace_schema(tools, schema)
    found = await layer.query_namespace(tools, {"rank_by": ["kind", "BM25", "drill"], "top_k": 20})
    assert len(found.rows) == 10
    described = await layer.update_turbopuffer_namespace_metadata(tools, {})
    assert described.id == tools


async def test_an_import_is_refused_by_the_store(layer: Client, name: str) -> None:
    error = await refused(422, layer.import_namespace(name, b"ARROW1"))
    assert error.error == "UnsupportedByStore"


async def test_stores_and_what_they_can_do_are_described(layer: Client, tools: str) -> None:
    for _ in range(max(GATEWAY_COUNTS)):  # requests go in turn: each gateway has met the store
        await layer.list_namespaces()
    stores = (await layer.list_vectorstores()).vectorstores
    assert [store.default for store in stores] == [True]
    store = await layer.get_vectorstore(stores[0].name)
    assert store.kind == "turbopuffer"
    assert store.status.reachable
    by_store = await layer.get_vector_store_capabilities(store.name)
    by_namespace = await layer.get_namespace_capabilities(tools)
    assert by_store == by_namespace
    assert "undeclared" not in {feature.support for feature in by_store.features}
    await refused(404, layer.get_vectorstore("no-such"))
    await refused(404, layer.get_vector_store_capabilities("no-such"))


async def test_the_catalogue_of_metrics_is_one_that_the_client_reads(layer: Client) -> None:
    catalogue = await layer.list_metrics_catalog()
    names = [entry.name for entry in catalogue.entries]
    assert names == sorted(names)
    some = await layer.list_metrics_catalog(family="fetch")
    assert {entry.family for entry in some.entries} == {"fetch"}
    entry = await layer.get_metric_catalog_entry("layer_fetch_batch_size")
    assert entry.kind == "histogram"
    await refused(404, layer.get_metric_catalog_entry("no_such"))


async def test_queries_of_metrics_say_that_there_is_no_backend(layer: Client) -> None:
    for call in (
        layer.query_metrics(query="up"),
        layer.query_metrics_api_v1(query="up"),
        layer.query_metrics_range(query="up", start="0", end="1", step="1s"),
        layer.query_metrics_range_api_v1(query="up", start="0", end="1", step="1s"),
    ):
        await refused(503, call)


async def test_the_licence_is_that_of_the_open_gateway(layer: Client) -> None:
    state = await layer.get_license()
    assert not state.valid
    assert (state.state, state.gateway.state) == ("floor", "floor")


async def test_warm_jobs_are_listed_by_every_gateway(layer: Client, tools: str) -> None:
    job = await layer.warm_cache(tools)

    async def is_done() -> bool:
        return bool((await layer.get_warm_job(tools, job.id)).status == "completed")

    assert await eventually(is_done)
    for _ in range(3):
        listed = (await layer.list_warm_jobs(tools)).warm_jobs
        assert job.id in [one.id for one in listed]
    hint = await layer.hint_cache_warm(tools, documents=False, snapshots=True, turbopuffer=True)
    assert (hint.turbopuffer.status, hint.documents.status) == ("completed", "skipped")
    await refused(422, layer.hint_cache_warm(tools, blobs=True, blob_budget_bytes=1000))
