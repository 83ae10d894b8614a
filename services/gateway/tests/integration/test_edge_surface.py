"""The smaller routes of the contract: metrics, license, keys, imports, what a deletion purges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import pytest_asyncio
from hevlayer import AsyncHevlayer, HevlayerError

from layer_objects import open_object_store
from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.scripted_store import ScriptedStore, answer, scripted_store

pytestmark = pytest.mark.asyncio(loop_scope="module")

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""
FOUND = {"status": "success", "data": {"resultType": "vector", "result": []}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend() -> AsyncIterator[ScriptedStore]:
    async with scripted_store() as backend:
        yield backend


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def furnished(
    store: ScriptedStore, backend: ScriptedStore, folder: Path
) -> AsyncIterator[ServiceProcess]:
    async with gateway_over(
        store.url,
        METRICS_BACKEND_URL=f"{backend.url}/base",
        LAYER_GATEWAY_OBJECTS_DIRECTORY=str(folder),
    ) as process:
        yield process


@pytest.fixture
def full(furnished: ServiceProcess, store: ScriptedStore, backend: ScriptedStore) -> EdgeCaller:
    store.requests.clear()
    backend.requests.clear()
    backend.answers.clear()
    return EdgeCaller(furnished.addresses["http"], key=KEY)


@pytest_asyncio.fixture(loop_scope="module")
async def layer(furnished: ServiceProcess) -> AsyncIterator[Client]:
    url = f"http://{furnished.addresses['http']}"
    async with AsyncHevlayer(api_key=KEY, base_url=url) as client:
        yield client


async def test_the_catalogue_validates_in_the_official_client(layer: Client) -> None:
    found = await layer.list_metrics_catalog()
    names = [entry.name for entry in found.entries]
    assert found.version == "1"
    assert names == sorted(names)
    assert "layer_query_duration_seconds" in names
    assert not any("license" in name or "udf" in name or "cost" in name for name in names)
    (alert,) = [
        entry.alert for entry in found.entries if entry.name == "layer_pipeline_failed_total"
    ]
    assert (alert.expr, alert.model_dump(by_alias=True)["for"]) == (
        "sum(increase(layer_pipeline_failed_total[5m])) > 0",
        "5m",
    )
    fetches = await layer.list_metrics_catalog(family="fetch")
    assert {entry.family for entry in fetches.entries} == {"fetch"}
    entry = await layer.get_metric_catalog_entry("layer_fetch_batch_size")
    assert (entry.kind, entry.labels) == ("histogram", ["operation"])


async def test_the_catalogue_is_public_and_may_be_kept(full: EdgeCaller) -> None:
    nobody = EdgeCaller(full.address, key="")
    for target in ("/v2/metrics/catalog", "/v2/metrics/catalog/layer_udf_queue_depth"):
        received = await nobody("GET", target)
        assert received.status == 200
        assert received["cache-control"] == "public, max-age=86400"
        assert len(received["etag"].strip('"')) == 32
        again = await nobody("GET", target, b"", {"if-none-match": received["etag"]})
        assert (again.status, again.body) == (304, b"")
    families = (await nobody("GET", "/v2/metrics/catalog?family=udf")).json["entries"]
    assert {entry["family"] for entry in families} == {"udf"}
    unknown = await nobody("GET", "/v2/metrics/catalog?family=nope")
    assert (unknown.status, unknown.json["error"]) == (400, "invalid_family")
    missing = await nobody("GET", "/v2/metrics/catalog/nope")
    assert (missing.status, missing.json["error"]) == (404, "not_found")


async def test_metric_queries_reach_the_backend_with_what_they_know(
    full: EdgeCaller, layer: Client, backend: ScriptedStore
) -> None:
    backend.answers["POST /base/api/v1/query"] = answer(FOUND)
    backend.answers["POST /base/api/v1/query_range"] = answer(FOUND)
    range_ = {"query": "up", "start": "1", "end": "2", "step": "1s"}
    assert (await layer.query_metrics(query='up{a="b"}', time="1")).model_dump() == FOUND
    assert (await layer.query_metrics_api_v1(query="up")).model_dump() == FOUND
    assert (await layer.query_metrics_range(**range_)).model_dump() == FOUND
    assert (await layer.query_metrics_range_api_v1(**range_)).model_dump() == FOUND
    form = {"content-type": "application/x-www-form-urlencoded"}
    posted = await full("POST", "/v2/metrics/query?time=9", b"query=sum%28up%29&evil=1", form)
    assert posted.json == FOUND
    bodies = [parse_qs(one.body.decode()) for one in backend.requests]
    assert bodies == [
        {"query": ['up{a="b"}'], "time": ["1"]},
        {"query": ["up"]},
        {name: [value] for name, value in range_.items()},
        {name: [value] for name, value in range_.items()},
        {"time": ["9"], "query": ["sum(up)"]},
    ]
    assert {one.header(b"authorization") for one in backend.requests} == {None}


async def test_what_the_backend_refuses_is_relayed(
    full: EdgeCaller, backend: ScriptedStore
) -> None:
    refused = {"status": "error", "errorType": "bad_data", "error": "1:1"}
    backend.answers["POST /base/api/v1/query"] = answer(refused, 400)
    received = await full("GET", "/v2/metrics/query?query=%28")
    assert (received.status, received.json) == (400, refused)
    assert received["content-type"] == "application/json"


async def test_samples_are_handed_to_the_backend(full: EdgeCaller, backend: ScriptedStore) -> None:
    backend.answers["POST /base/api/v1/import/prometheus"] = answer(b"", 204)
    received = await full("POST", "/v2/metrics/api/v1/import/prometheus", b"a 1\n")
    assert received.status == 204
    assert [one.body for one in backend.requests] == [b"a 1\n"]


async def test_a_backend_that_is_away_or_unknown_is_told_in_plain_text(
    full: EdgeCaller, edge: EdgeCaller, backend: ScriptedStore
) -> None:
    async def hang_up(_: object) -> None:
        pass

    backend.answers["POST /base/api/v1/query"] = hang_up
    for target in ("/v2/metrics/query", "/v2/metrics/api/v1/query"):
        failed = await full("GET", f"{target}?query=up")
        assert failed.status == 502
        assert failed["content-type"].startswith("text/plain")
        assert failed.body.startswith(b"metrics backend failed: ")
        unset = await edge("GET", f"{target}?query=up")
        assert (unset.status, unset.body) == (503, b"metrics backend not configured")
        assert (failed["x-should-retry"], unset["x-should-retry"]) == ("true", "false")


async def test_there_is_no_license_to_have(layer: Client) -> None:
    found = await layer.get_license()
    assert (found.valid, found.state, found.gateway.state) == (False, "floor", "floor")


async def test_there_is_no_key_store_and_no_token_leaves(
    full: EdgeCaller, store: ScriptedStore
) -> None:
    nobody = EdgeCaller(full.address, key="")
    for caller, method, target in (
        (nobody, "POST", "/v2/keys/authenticate"),
        (full, "GET", "/v2/keys"),
        (full, "POST", "/v2/keys/k/revoke"),
    ):
        received = await caller(method, target, {"token": "hvl_secret"})
        assert (received.status, received.json["error"]) == (404, "not_found")
    assert store.requests == []


async def test_an_import_is_refused_without_being_read(
    full: EdgeCaller, layer: Client, store: ScriptedStore
) -> None:
    with pytest.raises(HevlayerError) as refused:
        await layer.import_namespace("n", b"ARROW1\0\0")
    assert (refused.value.status_code, refused.value.error) == (422, "UnsupportedByStore")
    head = full.request("POST", "/v2/namespaces/n/import", b"", {"content-length": str(2**40)})
    received = await full.send(head, method="POST")
    assert received.status == 422
    assert received.json["store"] == "default"
    assert received.json["route"] == "importNamespace"
    assert store.requests == []


async def test_an_object_attribute_is_unsupported_once_the_store_has_said_so(
    full: EdgeCaller, store: ScriptedStore
) -> None:
    store.namespace("typed")
    body = {"upsert_rows": [{"id": "a"}], "schema": {"x": {"type": "object"}}}
    assert (await full("POST", "/v2/namespaces/typed", body)).status == 200
    store.answers["POST /v2/namespaces/typed"] = answer({"error": "bad type"}, 400)
    for sent in (body, {"schema": {"x": "object"}}):
        received = await full("POST", "/v2/namespaces/typed", sent)
        assert (received.status, received.json["error"]) == (422, "UnsupportedByStore")
        assert (received.json["store"], received.json["route"]) == ("default", "writeNamespace")
    plain = await full("POST", "/v2/namespaces/typed", {"upsert_rows": [{"id": "a"}]})
    assert (plain.status, plain.json) == (400, {"error": "bad type"})


async def test_a_deletion_purges_what_is_kept_of_the_namespace_and_nothing_else(
    full: EdgeCaller, store: ScriptedStore, folder: Path
) -> None:
    objects = open_object_store(folder.as_uri())
    folders = ("snapshots", "checkpoints", "search-history", "clickstream", "shards", "blobs")
    for name in folders:
        for namespace in ("gone", "gone2"):
            await objects.put(f"{name}/{namespace}/a/b", b"1")
            await objects.put(f"{name}/{namespace}/c", b"1")
    store.answers["DELETE /v2/namespaces/gone"] = answer({"status": "ok"})
    received = await full("DELETE", "/v2/namespaces/gone")
    assert received.json == {
        "status": "OK",
        "message": "namespace deleted; purged 10 S3 object(s)",
    }
    left = [key async for key in objects.iter_keys()]
    await objects.aclose()
    assert {key.split("/")[0] for key in left if key.split("/")[1] == "gone"} == {"blobs"}
    assert sum(key.split("/")[1] == "gone2" for key in left) == 12
    again = await full("DELETE", "/v2/namespaces/gone")
    assert again.json["message"] == "namespace deleted; purged 0 S3 object(s)"


async def test_a_purge_that_fails_is_a_502_and_says_that_the_namespace_is_gone(
    store: ScriptedStore,
) -> None:
    away = {
        "S3_BUCKET": "any",
        "S3_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    store.answers["DELETE /v2/namespaces/gone"] = answer({"status": "ok"})
    async with gateway_over(store.url, **away) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        received = await edge("DELETE", "/v2/namespaces/gone")
    assert (received.status, received.json["error"]) == (502, "upstream_error")
    assert received.json["reason"] == "PURGE_FAILED"
    assert "is deleted" in received.json["message"]
