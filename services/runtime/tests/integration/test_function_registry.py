"""Functions as they are registered, shown, stopped and deleted, over HTTP and over gRPC."""

from __future__ import annotations

from typing import Any

import pytest
from hevlayer import AsyncHevlayer

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.function_system import FunctionSystem
from layer_testing.gateway_calls import KEY

pytestmark = pytest.mark.asyncio(loop_scope="module")


def selecting(*expressions: dict[str, Any]) -> dict[str, Any]:
    """Return a specification that selects indexes by expressions."""
    return {"worker": {}, "index_selector": {"matchExpressions": expressions}}


async def test_a_function_is_registered_once_listed_and_deleted(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    spec = {"worker": {"batch_size": 4}, "target_namespaces": [tools]}
    made = await layer.calls.create(tag, spec, paused=False)
    assert made["spec"] == {
        "target_namespaces": [tools],
        "inputs": [],
        "version": "v1",
        "worker": {"batch_size": 4, "timeout_seconds": 30},
        "schedule": {
            "discovery_interval_seconds": 60,
            "lease_seconds": 120,
            "max_in_flight_batches": 8,
            "max_concurrent_scans": 4,
        },
        "retry": {
            "max_attempts": 8,
            "initial_backoff_seconds": 5,
            "max_backoff_seconds": 300,
        },
        "triggers": ["discovery"],
        "invalidates": [],
    }
    again = layer.calls.create(tag, spec, paused=False)
    assert await layer.refusal(again) == "FUNCTION_EXISTS"
    twin = layer.calls.create(tag.replace("-", "_"), spec, paused=False)
    assert await layer.refusal(twin) == "MARKER_TAKEN"
    listed = (await layer.call("GET", "/v2/udfs"))["udfs"]
    assert [one["spec"] for one in listed if one["id"] == tag] == [made["spec"]]
    got = await layer.calls.get(tag)
    assert (got["udf"], got["status"]["udf_id"]) == (made, tag)
    await layer.calls.delete(tag)
    assert await layer.refusal(layer.status(tag)) == "FUNCTION_NOT_FOUND"
    assert await layer.refusal(layer.calls.delete(tag)) == "FUNCTION_NOT_FOUND"


async def test_what_a_function_says_comes_back_and_can_be_sent_again(
    layer: FunctionSystem, tag: str
) -> None:
    spec: dict[str, Any] = {
        "worker": {"batch_size": 4, "timeout_seconds": 20},
        "target_namespaces": ["a"],
        "index_selector": {
            "matchLabels": {"team": "search"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["gold", "silver"]},
                {"key": "zone", "operator": "NotIn", "values": ["eu"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "owner", "operator": "Exists"},
            ],
        },
        "inputs": ["kind"],
        "version": "v7",
        "filter": ["kind", "Eq", "saw"],
        "triggers": ["discovery", "write"],
        "schedule": {"cron": "CRON_TZ=Europe/Berlin 0 2 * * 1-5"},
        "queries_per_item": 3,
        "group_by_parent": True,
    }
    made = (await layer.put(tag, **spec))["spec"]
    assert made["schedule"].pop("cron") == spec.pop("schedule")["cron"]
    assert spec.items() <= made.items()
    made["schedule"]["cron"] = "CRON_TZ=Europe/Berlin 0 2 * * 1-5"
    assert (await layer.put(tag, **made))["spec"] == made
    assert (await layer.calls.get(tag))["udf"]["spec"] == made


async def test_the_queries_that_the_work_costs_are_told(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools])
    assert "query_budget" not in await layer.status(tag)
    await layer.put(tag, target_namespaces=[tools], queries_per_item=5)
    await layer.discover(tag)
    (item,) = await layer.claim(tag, limit=1)
    budget = (await layer.status(tag))["query_budget"]
    assert budget == {"queries_per_item": 5, "pending_queries": 15, "queries_per_min": 0.0}
    await layer.complete(tag, [{"namespace": tools, "id": item["id"]}])
    budget = (await layer.status(tag))["query_budget"]
    assert budget == {"queries_per_item": 5, "pending_queries": 10, "queries_per_min": 5.0}


async def test_published_clients_read_functions_with_everything_that_came_later(
    system: FunctionSystem, tools: str, tag: str
) -> None:
    await system.put(
        tag,
        target_namespaces=[tools],
        inputs=["kind"],
        triggers=["schedule"],
        schedule={"cron": "0 2 * * *"},
        queries_per_item=1,
        group_by_parent=True,
        index_selector={"matchExpressions": [{"key": "team", "operator": "Exists"}]},
    )
    await system.calls.pause(tag, "later")
    client: Any  # whose every method is typed as ``T | LayerResponse[T]``
    async with AsyncHevlayer(base_url=f"http://{system.edge.address}", api_key=KEY) as client:
        assert tag in {one.id for one in (await client.list_udfs()).udfs}
        shown = await client.get_udf(tag)
        assert (shown.status.paused, shown.status.pause_reason) == (True, "later")
        again = await client.upsert_udf(tag, {"spec": shown.udf.spec.model_dump()})
        assert again.spec == shown.udf.spec
        await client.resume_udf(tag)
        assert (await client.discover_udf(tag, {})).enqueued == 3
        claimed = await client.claim_udf_items(tag, {"worker_id": "w1"})
        assert claimed.items[0].input == {"kind": ["saw"]}
        result = {"namespace": tools, "id": claimed.items[0].id, "attributes": {"x": 1}}
        body = {"worker_id": "w1", "items": [result], "report_dispositions": True}
        assert (await client.complete_udf_items(tag, body)).updated == 1


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({}, "worker"),
        ({"worker": {}, "version": ""}, "spec.version"),
        ({"worker": {}, "inputs": ["a", "a"]}, "spec.inputs"),
        ({"worker": {}, "filter": ["kind", "Equals", 1]}, "spec.filter"),
        ({"worker": {}, "retry": {"max_attempts": 0}}, "max_attempts"),
        ({"worker": {}, "triggers": ["cron"]}, "triggers"),
        ({"worker": {}, "triggers": ["schedule"]}, "spec.schedule.cron"),
        ({"worker": {}, "schedule": {"cron": "0 25 * * *"}}, "spec.schedule.cron"),
        (selecting({"key": "k", "operator": "=="}), "matchExpressions"),
        (
            selecting({"key": "k", "operator": "In"}),
            "spec.index_selector.matchExpressions[0].values",
        ),
        ({"worker": {}, "queries_per_item": 0}, "queries_per_item"),
        ({"worker": {}, "candidate": {"of": "x", "outputs": []}}, "outputs"),
        (
            {
                "worker": {},
                "index_selector": {"matchLabels": {"team": "x"}},
                "triggers": ["discovery", "write"],
            },
            "spec.triggers",
        ),
        ({"worker": {}, "group_by_parent": "yes"}, "group_by_parent"),
        ({"worker": {}, "colour": "red"}, "colour"),
        ({"worker": {"url": "ftp://x"}}, "spec.worker.url"),
    ],
    ids=str,
)
async def test_a_refused_specification_names_its_field(
    system: FunctionSystem, tag: str, spec: dict[str, Any], where: str
) -> None:
    answer = await system.refused("PUT", f"/v2/udfs/{tag}", {"spec": spec})
    assert answer.status == 422
    assert where in answer.json["message"]
    assert (await system.refused("GET", f"/v2/udfs/{tag}")).status == 404


async def test_a_paused_function_gives_no_work_and_takes_what_is_done(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools])
    assert (await layer.discover(tag))["enqueued"] == 3
    (item,) = await layer.claim(tag, limit=1)
    assert (await layer.calls.pause(tag))["paused"] is True
    assert (await layer.status(tag))["pause_reason"] == "requested"
    assert (await layer.calls.pause(tag, "prices are wrong"))["paused"] is True
    assert (await layer.status(tag))["pause_reason"] == "prices are wrong"
    assert await layer.claim(tag) == []
    result = {"namespace": tools, "id": item["id"], "attributes": {"x": 1}}
    assert await layer.complete(tag, [result]) == 1
    assert (await layer.discover(tag))["enqueued"] == 0
    assert (await layer.calls.resume(tag))["paused"] is False
    assert "pause_reason" not in await layer.status(tag)
    assert len(await layer.claim(tag)) == 2


async def test_the_queue_is_shown_in_metrics(layer: FunctionSystem, tools: str, tag: str) -> None:
    await layer.put(tag, target_namespaces=[tools])
    await layer.discover(tag)
    await layer.claim(tag, limit=1)

    async def shown() -> bool:
        ops = EdgeCaller(layer.runtimes[0].addresses["ops"], key="")
        return (
            f'layer_udf_queue_depth{{udf="{tag}"}} 3.0'.encode()
            in (await ops("GET", "/metrics")).body
        )

    assert await eventually(shown)
