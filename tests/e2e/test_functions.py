"""The unchanged official client and its worker loop against functions of the running system."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hevlayer import (
    HevlayerError,
    PermanentError,
    TpufClient,
    TransientError,
    run_udf_worker,
    udf,
)

from layer_testing.edge_calls import eventually
from layer_testing.system import LocalSystem

Client = Any
"""``AsyncHevlayer``, whose every method is typed as ``T | LayerResponse[T]``."""

ROWS = [
    {"id": "t-1", "vector": [1.0, 0.0], "kind": "saw", "rating": 5},
    {"id": "t-2", "vector": [0.0, 1.0], "kind": "drill", "rating": 3},
    {"id": "t-3", "vector": [0.7, 0.7], "kind": "glue", "rating": 1},
]


@pytest.fixture
async def tools(layer: Client, name: str) -> str:
    await layer.write_namespace(name, {"upsert_rows": ROWS, "distance_metric": "cosine_distance"})
    return name


async def register(layer: Client, function_id: str, namespace: str, **spec: object) -> Any:
    fields = {"target_namespaces": [namespace], "worker": {}, **spec}
    made = await layer.create_udf({"id": function_id, "spec": fields})
    await layer.discover_udf(function_id, {})
    return made


async def attributes(layer: Client, namespace: str, id_: str) -> dict[str, Any]:
    return dict((await layer.fetch_document(namespace, id_)).attributes)


async def test_every_operation_of_the_client_has_its_model(layer: Client, tools: str) -> None:
    function_id = f"f-{tools}"
    made = await register(layer, function_id, tools, inputs=["kind"])
    assert (made.id, made.paused, made.spec.version) == (function_id, False, "v1")
    assert made.spec.schedule.lease_seconds == 120
    with pytest.raises(HevlayerError) as caught:
        await register(layer, function_id, tools)
    assert caught.value.status_code == 409
    assert function_id in [one.id for one in (await layer.list_udfs()).udfs]
    claimed = await layer.claim_udf_items(function_id, {"worker_id": "w", "limit": 2})
    assert [(item.id, item.input) for item in claimed.items] == [
        ("t-1", {"kind": "saw"}),
        ("t-2", {"kind": "drill"}),
    ]
    first = {"namespace": tools, "id": "t-1"}
    beat = await layer.heartbeat_udf_items(function_id, {"worker_id": "w", "items": [first]})
    assert beat.updated == 1
    done = {"worker_id": "w", "items": [{**first, "attributes": {"class": "S"}}]}
    assert (await layer.complete_udf_items(function_id, done)).updated == 1
    failure = {"namespace": tools, "id": "t-2", "kind": "permanent", "message": "no"}
    failed = await layer.fail_udf_items(function_id, {"worker_id": "w", "items": [failure]})
    assert failed.updated == 1
    got = await layer.get_udf(function_id)
    assert (got.status.failed_count, got.status.pending_count) == (1, 1)
    assert got.status.discovery.sweeps_completed >= 1
    assert (await layer.reset_failed_udf(function_id)).updated == 1
    assert (await layer.pause_udf(function_id)).paused
    assert not (await layer.claim_udf_items(function_id, {"worker_id": "w"})).items
    assert not (await layer.resume_udf(function_id)).paused
    changed = await layer.upsert_udf(function_id, {"spec": {"worker": {}, "version": "v2"}})
    assert changed.spec.version == "v2"
    assert (await layer.get_udf_status(function_id)).udf_id == function_id
    assert (await layer.delete_udf(function_id)).status
    with pytest.raises(HevlayerError) as caught:
        await layer.get_udf(function_id)
    assert caught.value.status_code == 404


async def test_the_worker_loop_of_the_client_tags_rows(
    system: LocalSystem, layer: Client, tools: str
) -> None:
    function_id = f"f-{tools}"
    await register(layer, function_id, tools, inputs=["kind", "rating"])

    @udf(id=function_id, output="verdict")
    def judge(kind: str, rating: int) -> str:
        if kind == "glue":
            raise PermanentError("glue is not judged")
        return "good" if rating > 3 else "poor"

    await run_udf_worker(judge, base_url=system.url, api_key="any", once=True)
    assert (await attributes(layer, tools, "t-1"))["verdict"] == "good"
    assert (await attributes(layer, tools, "t-2"))["verdict"] == "poor"
    status = await layer.get_udf_status(function_id)
    assert (status.pending_count, status.processing_count, status.failed_count) == (0, 0, 1)


async def test_the_worker_loop_of_the_client_writes_embeddings(
    system: LocalSystem, layer: Client, tools: str
) -> None:
    function_id = f"f-{tools}"
    await register(layer, function_id, tools, inputs=["kind"])

    @udf(id=function_id, kind="embedding")
    async def embed(kind: str) -> list[float]:
        return [float(len(kind)), 1.0]

    await run_udf_worker(embed, base_url=system.url, api_key="any", once=True)
    found = await layer.query_namespace(tools, {"vector": [4.0, 1.0], "top_k": 1})
    assert found.rows[0]["id"] == "t-3"
    assert (await attributes(layer, tools, "t-3"))["kind"] == "glue"


async def test_a_worker_that_writes_by_itself_is_not_triggered_by_that(
    system: LocalSystem, layer: Client, tools: str
) -> None:
    function_id = f"f-{tools}"
    spec = {"inputs": ["id", "kind"], "triggers": ["discovery", "write"]}
    await register(layer, function_id, tools, **spec)
    seen: list[str] = []

    @udf(id=function_id, output="done")
    async def enrich(id: str, kind: str, tpuf: TpufClient) -> bool:  # noqa: A002
        seen.append(id)
        if kind == "glue" and seen.count(id) == 1:
            raise TransientError("once more")
        await tpuf.patch_columns(tools, [id], {"upper": [kind.upper()]})
        return True

    work = asyncio.create_task(
        run_udf_worker(enrich, base_url=system.url, api_key="any", poll_interval=0.05)
    )

    async def is_done() -> bool:
        status = await layer.get_udf_status(function_id)
        return not (status.pending_count or status.processing_count)

    assert await eventually(is_done)
    await layer.write_namespace(tools, {"patch_rows": [{"id": "t-1", "kind": "plane"}]})

    async def is_seen_again() -> bool:
        return seen.count("t-1") > 1

    assert await eventually(is_seen_again)
    assert await eventually(is_done)
    work.cancel()
    assert (await attributes(layer, tools, "t-1"))["upper"] == "PLANE"
    assert sorted(seen) == ["t-1", "t-1", "t-2", "t-3", "t-3"]
