"""Pipelines with a schedule, and documents of which rows say what they are a part of."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_kit.errors import InvalidRequestError
from layer_kit.rpc.client import invoke, open_channel
from layer_testing.edge_calls import eventually
from layer_testing.function_system import FunctionSystem

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOMENTS = {
    "fires_at": "UPDATE layer.pipelines SET fires_at = now() - interval '1 hour' WHERE id = $1",
    "fired_at": "UPDATE layer.pipelines SET fired_at = now() - interval '1 hour' WHERE id = $1",
}
CRON = "CRON_TZ=Europe/Berlin 0 3 * * *"


@pytest_asyncio.fixture(loop_scope="module")
async def stub(layer: FunctionSystem) -> AsyncIterator[runtime_pb2_grpc.PipelineServiceStub]:
    async with open_channel(layer.runtimes[0].addresses["grpc"], retries=False) as channel:
        yield runtime_pb2_grpc.PipelineServiceStub(channel)


@pytest.fixture
def name() -> str:
    return f"nightly-{secrets.token_hex(4)}"


async def let_pass(layer: FunctionSystem, name: str, moment: str) -> None:
    """Move a moment of a pipeline by an hour, as if that had passed."""
    connection = await asyncpg.connect(layer.database_url)
    try:
        await connection.execute(MOMENTS[moment], name)
    finally:
        await connection.close()


async def window(layer: FunctionSystem, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await layer.call("GET", f"/v2/pipelines/{name}/status"))["schedule"]
    return found


async def opened(layer: FunctionSystem, name: str) -> bool:
    return bool((await window(layer, name))["window_open"])


async def closed(layer: FunctionSystem, name: str) -> bool:
    return not await opened(layer, name)


async def test_a_window_opens_at_each_firing_and_closes_when_its_work_is_done(
    layer: FunctionSystem, stub: runtime_pb2_grpc.PipelineServiceStub, name: str
) -> None:
    body = {"id": name, "target_namespace": f"{name}-rows", "schedule": {"cron": CRON}}
    made = await layer.call("POST", "/v2/pipelines", body)
    assert made["schedule"] == {"cron": CRON}
    got = await invoke(
        stub.GetPipeline, runtime_pb2.GetPipelineRequest(pipeline_id=name), timeout_s=20
    )
    assert got.pipeline.cron == CRON
    before = await window(layer, name)
    assert (before["window_open"], before["last_firing_at"]) == (False, None)
    assert datetime.fromisoformat(before["next_firing_at"]).minute == 0

    await let_pass(layer, name, "fires_at")
    assert await eventually(lambda: opened(layer, name))
    shown = await invoke(
        stub.GetPipelineStatus, runtime_pb2.GetPipelineStatusRequest(pipeline_id=name), timeout_s=20
    )
    assert shown.window.is_open
    assert shown.window.HasField("last_firing_time")
    assert (await window(layer, name))["next_firing_at"] == before["next_firing_at"]

    # Long open by now, but there is work.
    await layer.call("PUT", f"/v2/pipelines/{name}/documents/a", {"chunks": [{"id": "a"}]})
    await let_pass(layer, name, "fired_at")
    other = f"other-{name}"
    await layer.call("POST", "/v2/pipelines", {**body, "id": other})
    await let_pass(layer, other, "fires_at")
    assert await eventually(lambda: opened(layer, other))
    await let_pass(layer, other, "fired_at")
    assert await eventually(lambda: closed(layer, other))
    assert await opened(layer, name)
    done = {"document_ids": ["a"], "stage": "indexed"}
    await layer.call("POST", f"/v2/pipelines/{name}/documents/stage", done)
    assert await eventually(lambda: closed(layer, name))


async def test_a_schedule_that_is_none_is_refused_and_one_that_is_not_said_not_shown(
    layer: FunctionSystem, stub: runtime_pb2_grpc.PipelineServiceStub, name: str
) -> None:
    body = {"id": name, "target_namespace": "rows", "schedule": {"cron": "0 25 * * *"}}
    answer = await layer.refused("POST", "/v2/pipelines", body)
    assert answer.status == 422
    assert "schedule.cron" in answer.json["message"]
    request = runtime_pb2.CreatePipelineRequest(
        pipeline_id=name, target_namespace="rows", cron="0 25 * * *"
    )
    with pytest.raises(InvalidRequestError) as caught:
        await invoke(stub.CreatePipeline, request, timeout_s=20)
    assert caught.value.reason == "SPEC_INVALID"
    made = await layer.call("POST", "/v2/pipelines", {**body, "schedule": {"cron": None}})
    assert "schedule" not in made
    assert "schedule" not in await layer.call("GET", f"/v2/pipelines/{name}/status")


async def test_rows_say_of_which_document_they_are_and_are_one_item_of_a_function(
    layer: FunctionSystem, name: str
) -> None:
    target = f"{name}-rows"
    await layer.call("POST", "/v2/pipelines", {"id": name, "target_namespace": target})
    chunks = [{"id": f"a#{at}", "text": str(at)} for at in range(2)]
    await layer.call("PUT", f"/v2/pipelines/{name}/documents/a", {"chunks": chunks})
    vectors = [
        {
            "id": f"a#{at}",
            "vector": [1.0, float(at)],
            "attributes": {
                "text": str(at),
                "_hevlayer_parent_id": "a",
                "_hevlayer_chunk_index": at,
            },
        }
        for at in range(2)
    ]
    path = f"/v2/pipelines/{name}/documents/a/vectors"
    await layer.call("PUT", path, {"vectors": vectors})
    assert (await layer.row(target, "a#1"))["_hevlayer_parent_id"] == "a"
    other = {**vectors[0], "attributes": {"_hevlayer_udf_f_v": "v1"}}
    answer = await layer.refused("PUT", path, {"vectors": [other]})
    assert answer.json["reason"] == "ATTRIBUTE_RESERVED"

    await layer.put(name, target_namespaces=[target], inputs=["text"], group_by_parent=True)
    await layer.discover(name)
    (item,) = await layer.claim(name)
    assert (item["id"], item["input"]) == ("a", {"text": ["0", "1"]})
    assert await layer.complete(name, [{"namespace": target, "id": "a", "attributes": {"n": 1}}])
    assert (await layer.row(target, "a#1"))["n"] == 1
