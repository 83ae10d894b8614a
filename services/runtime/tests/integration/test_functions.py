"""Functions over HTTP, with a real gateway, store and database: from registration to results."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.function_system import FunctionSystem, function_system
from layer_testing.postgres import PostgresServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS: list[dict[str, Any]] = [
    {"id": "t-1", "vector": [1.0, 0.0], "kind": "saw", "size": 1},
    {"id": "t-2", "vector": [0.0, 1.0], "kind": "saw", "size": 2},
    {"id": "t-3", "vector": [0.7, 0.7], "kind": "drill"},
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def layer(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FunctionSystem]:
    folder = tmp_path_factory.mktemp("f")
    async with function_system(folder, postgres.new_database()) as system:
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def tools(layer: FunctionSystem) -> str:
    """A namespace of three rows."""
    name = f"tools-{secrets.token_hex(4)}"
    await layer.write(name, upsert_rows=ROWS, distance_metric="cosine_distance")
    return name


@pytest.fixture
def tag() -> str:
    """Id of a function that no other test uses."""
    return f"tag-{secrets.token_hex(4)}"


def marker(function_id: str, what: str = "v") -> str:
    return f"_hevlayer_udf_{function_id.replace('-', '_')}_{what}"


def keys(items: list[Any]) -> list[str]:
    return [item["id"] for item in items]


async def test_rows_are_found_handed_out_and_written_with_their_mark(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    spec = {
        "target_namespaces": [tools],
        "inputs": ["kind", "size"],
        "version": "v2",
        "filter": ["kind", "Eq", "saw"],
    }
    await layer.put(tag, **spec)
    found = await layer.discover(tag)
    assert (found["udf_id"], found["enqueued"], found["namespaces"]) == (tag, 2, [tools])
    assert found["complete"] is True
    assert (await layer.discover(tag))["enqueued"] == 0

    items = await layer.claim(tag)
    assert keys(items) == ["t-1", "t-2"]
    assert items[1]["input"] == {"kind": "saw", "size": 2}
    assert await layer.claim(tag) == []
    status = await layer.status(tag)
    assert (status["pending_count"], status["processing_count"]) == (0, 2)

    results = [
        {"namespace": tools, "id": item["id"], "attributes": {"size_class": "S"}} for item in items
    ]
    assert await layer.complete(tag, results) == 2
    assert await layer.row(tools, "t-2") == {
        "kind": "saw",
        "size": 2,
        "size_class": "S",
        marker(tag): "v2",
    }
    status = await layer.status(tag)
    assert status["counts"] == {}
    assert status["indexed_rate_per_min"] == 2
    assert status["discovery"]["sweeps_completed"] >= 2
    assert status["discovery"]["last_completed_at"].endswith("Z")
    assert (await layer.discover(tag))["enqueued"] == 0


async def test_a_new_version_makes_every_row_due_again(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"])
    await layer.discover(tag)
    items = await layer.claim(tag)
    await layer.complete(tag, [{"namespace": tools, "id": item["id"]} for item in items])
    assert (await layer.discover(tag))["enqueued"] == 0
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"], version="v2")
    assert (await layer.discover(tag))["enqueued"] == 3


async def test_an_embedding_replaces_the_vector_and_keeps_the_rest(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"])
    await layer.discover(tag)
    await layer.claim(tag)
    result = {"namespace": tools, "id": "t-1", "vector": [0.5, -1.0], "attributes": {"n": 7}}
    assert await layer.complete(tag, [result]) == 1
    query = {"rank_by": ["id", "asc"], "top_k": 1, "include_attributes": True}
    row = (await layer.call("POST", f"/v1/namespaces/{tools}/query", query))["rows"][0]
    assert (row["vector"], row["kind"], row["n"]) == ([0.5, -1.0], "saw", 7)
    assert row[marker(tag)] == "v1"


async def test_several_vectors_replace_those_of_a_row(layer: FunctionSystem, tag: str) -> None:
    name = f"late-{secrets.token_hex(4)}"
    await layer.write(
        name,
        upsert_rows=[{"id": "a", "vectors": [[1.0, 0.0]], "kind": "saw"}],
        distance_metric="cosine_distance",
        schema={"vectors": {"type": "[][2]f32", "ann": True}},
    )
    await layer.put(tag, target_namespaces=[name], inputs=["kind", "vectors"])
    await layer.discover(tag)
    (item,) = await layer.claim(tag)
    assert item["input"] == {"kind": "saw", "vectors": [[1.0, 0.0]]}
    assert await layer.complete(tag, [{**item, "vectors": [[0.0, 1.0], [-1.0, 0.0]]}]) == 1
    query = {"rank_by": ["vectors", "ANN", [[0.0, 1.0]]], "top_k": 1}
    found = await layer.call("POST", f"/v2/namespaces/{name}/query", query)
    assert found["rows"][0]["$dist"] == 0.0
    assert (await layer.row(name, "a"))["kind"] == "saw"


async def test_inputs_have_the_id_the_vector_and_null_for_what_a_row_lacks(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["id", "vector", "size", "nowhere"])
    await layer.discover(tag)
    items = await layer.claim(tag)
    assert items[0]["input"] == {"id": "t-1", "vector": [1.0, 0.0], "size": 1, "nowhere": None}
    assert items[2]["input"]["size"] is None


async def test_integer_ids_are_worked_on_as_text(layer: FunctionSystem, tag: str) -> None:
    name = f"numbers-{secrets.token_hex(4)}"
    await layer.write(name, upsert_rows=[{"id": 7, "n": 1}, {"id": 10, "n": 2}])
    await layer.put(tag, target_namespaces=[name], inputs=["id", "n"], triggers=["write"])
    await layer.discover(tag)
    items = await layer.claim(tag)
    assert sorted((item["id"], item["input"]["id"]) for item in items) == [("10", 10), ("7", 7)]
    results = [{"namespace": name, "id": id_, "attributes": {"m": 3}} for id_ in ("7", "10")]
    assert await layer.complete(tag, results) == 2
    assert (await layer.row(name, "7"))["m"] == 3


async def test_what_fails_waits_and_is_given_up_in_the_end(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    retry = {"max_attempts": 2, "initial_backoff_seconds": 1, "max_backoff_seconds": 1}
    await layer.put(tag, target_namespaces=[tools], filter=["kind", "Eq", "saw"], retry=retry)
    await layer.discover(tag)
    await layer.claim(tag)
    first = {"namespace": tools, "id": "t-1", "kind": "permanent", "message": "unreadable"}
    second = {"namespace": tools, "id": "t-2", "kind": "transient", "message": "429"}
    assert await layer.fail(tag, [first, second]) == 2
    assert (await layer.status(tag))["counts"] == {"pending": 1, "failed": 1}
    assert await layer.claim(tag) == []
    again = await eventually(lambda: layer.claim(tag))
    assert keys(again) == ["t-2"]
    assert await layer.fail(tag, [second]) == 1
    assert (await layer.status(tag))["failed_count"] == 2
    failed = (await layer.call("GET", f"/v2/udfs/{tag}/items/failed"))["items"]
    assert [(one["id"], one["message"], one["attempts"]) for one in failed] == [
        ("t-1", "unreadable", 1),
        ("t-2", "429", 2),
    ]
    assert (await layer.discover(tag))["enqueued"] == 0
    assert (await layer.call("POST", f"/v2/udfs/{tag}/reset-failed"))["updated"] == 2
    assert keys(await layer.claim(tag)) == ["t-1", "t-2"]


async def test_an_item_that_silences_its_workers_is_given_up(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], retry={"max_attempts": 1})
    await layer.discover(tag)
    assert len(await layer.claim(tag, lease_seconds=1)) == 3

    async def is_given_up() -> bool:
        assert await layer.claim(tag, "w2") == []
        return bool((await layer.status(tag))["counts"] == {"failed": 3})

    assert await eventually(is_given_up)
    failed = (await layer.call("GET", f"/v2/udfs/{tag}/items/failed"))["items"]
    assert {(one["message"], one["attempts"]) for one in failed} == {("its worker went silent", 1)}


async def test_a_worker_that_gives_back_costs_no_attempt(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], retry={"max_attempts": 1})
    await layer.discover(tag)
    items = await layer.claim(tag)
    released = [{"namespace": tools, "id": id_, "kind": "released"} for id_ in keys(items)]
    assert await layer.fail(tag, released) == 3
    assert keys(await layer.claim(tag, "w2")) == keys(items)


async def test_only_the_worker_that_holds_an_item_can_speak_of_it(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], filter=["kind", "Eq", "drill"])
    await layer.discover(tag)
    (mine,) = await layer.claim(tag, lease_seconds=1)
    result = {"namespace": tools, "id": "t-3", "attributes": {"by": "w1"}}
    (theirs,) = await eventually(lambda: layer.claim(tag, "w2"))
    assert theirs["lease_token"] > mine["lease_token"]
    assert await layer.heartbeat(tag, [{"namespace": tools, "id": "t-3"}]) == 0
    assert await layer.complete(tag, [result]) == 0
    assert await layer.fail(tag, [{**result, "kind": "permanent"}]) == 0
    stale = {**result, "lease_token": mine["lease_token"]}
    assert await layer.complete(tag, [stale], "w2") == 0
    assert await layer.complete(tag, [{**result, "attributes": {"by": "w2"}}], "w2") == 1
    assert (await layer.row(tools, "t-3"))["by"] == "w2"


async def test_a_row_that_changed_since_its_claim_waits_again_and_keeps_what_was_written(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"], filter=["id", "Eq", "t-3"])
    await layer.discover(tag)
    await layer.claim(tag)
    await layer.write(tools, patch_rows=[{"id": "t-3", "kind": "hammer"}])
    stale = {"namespace": tools, "id": "t-3", "attributes": {"of": "drill"}}
    assert await layer.complete(tag, [stale]) == 1
    assert await layer.row(tools, "t-3") == {"kind": "hammer"}
    (again,) = await layer.claim(tag)
    assert again["input"] == {"kind": "hammer"}
    assert await layer.complete(tag, [{**stale, "attributes": {"of": "hammer"}}]) == 1
    assert (await layer.row(tools, "t-3"))["of"] == "hammer"
    assert (await layer.status(tag))["counts"] == {}


async def test_a_row_that_was_touched_elsewhere_takes_its_result(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"], filter=["id", "Eq", "t-3"])
    await layer.discover(tag)
    await layer.claim(tag)
    await layer.write(tools, patch_rows=[{"id": "t-3", "stock": 4}])
    result = {"namespace": tools, "id": "t-3", "attributes": {"of": "drill"}}
    assert await layer.complete(tag, [result]) == 1
    row = await layer.row(tools, "t-3")
    assert (row["stock"], row["of"]) == (4, "drill")


async def test_rows_that_went_away_are_no_work(layer: FunctionSystem, tools: str, tag: str) -> None:
    await layer.put(tag, target_namespaces=[tools, "nowhere"], inputs=["kind"])
    await layer.discover(tag)
    await layer.write(tools, deletes=["t-1"])
    assert keys(await layer.claim(tag)) == ["t-2", "t-3"]
    await layer.write(tools, deletes=["t-2"])
    results = [{"namespace": tools, "id": id_, "attributes": {"x": 1}} for id_ in ("t-2", "t-3")]
    assert await layer.complete(tag, results) == 2
    gone = await layer.refused("GET", f"/v2/namespaces/{tools}/documents/t-2")
    assert gone.status == 404
    assert (await layer.status(tag))["counts"] == {}


async def test_a_result_that_the_store_refuses_fails_alone(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"])
    await layer.discover(tag)
    await layer.claim(tag)
    results = [
        {"namespace": tools, "id": "t-1", "attributes": {"size": 3}},
        {"namespace": tools, "id": "t-2", "attributes": {"size": "three"}},
        {"namespace": tools, "id": "t-3", "attributes": {"size": 4}},
    ]
    assert await layer.complete(tag, results) == 2
    assert (await layer.row(tools, "t-3"))["size"] == 4
    assert (await layer.status(tag))["counts"] == {"failed": 1}


async def test_a_paused_function_gives_no_work_and_takes_what_is_done(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools])
    assert (await layer.discover(tag))["enqueued"] == 3
    (item,) = await layer.claim(tag, limit=1)
    paused = await layer.call("POST", f"/v2/udfs/{tag}/pause")
    assert paused["paused"] is True
    assert await layer.claim(tag) == []
    result = {"namespace": tools, "id": item["id"], "attributes": {"x": 1}}
    assert await layer.complete(tag, [result]) == 1
    assert (await layer.discover(tag))["enqueued"] == 0
    assert (await layer.call("POST", f"/v2/udfs/{tag}/resume"))["paused"] is False
    assert len(await layer.claim(tag)) == 2


async def test_completing_one_function_makes_rows_due_for_another(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    price = f"price-{tag}"
    await layer.put(price, target_namespaces=[tools])
    await layer.put(tag, target_namespaces=[tools], invalidates=[price])
    await layer.discover(price)
    done = [{"namespace": tools, "id": id_} for id_ in keys(await layer.claim(price))]
    assert await layer.complete(price, done) == 3
    await layer.discover(tag)
    await layer.claim(tag, limit=1)
    assert await layer.complete(tag, done[:1]) == 1
    assert (await layer.row(tools, "t-1"))[marker(price, "stale_after")] > 0
    assert (await layer.discover(price))["enqueued"] == 1
    assert keys(await layer.claim(price)) == ["t-1"]
    assert await layer.complete(price, done[:1]) == 1
    assert (await layer.discover(price))["enqueued"] == 0


async def test_writes_trigger_but_not_those_of_functions(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    spec: dict[str, Any] = {
        "target_namespaces": [tools],
        "inputs": ["kind"],
        "filter": ["kind", "NotEq", "drill"],
        "triggers": ["write"],
    }
    await layer.put(tag, **spec)

    async def written() -> list[Any]:
        await layer.write(tools, upsert_rows=[{"id": "new", "vector": [1, 1], "kind": "plane"}])
        return await layer.claim(tag)

    (item,) = await eventually(written)
    result = {"namespace": tools, "id": "new", "attributes": {"class": "P"}}
    # The worker writes an output of its own, as some do, and completes then.
    await layer.write(tools, patch_columns={"id": ["new"], "more": [1]})
    assert await layer.complete(tag, [result]) == 1
    assert item["input"] == {"kind": "plane"}

    # Of what follows, only a change of an input makes work.
    await layer.write(tools, patch_rows=[{"id": "new", "more": 2}])
    await layer.write(tools, upsert_rows=[{"id": "d", "vector": [1, 1], "kind": "drill"}])
    await layer.write(tools, patch_rows=[{"id": "t-3", "more": 2}])  # another drill
    await layer.write(tools, patch_rows=[{"id": "new", "kind": "spokeshave"}])
    again = await eventually(lambda: layer.claim(tag))
    assert [(one["id"], one["input"]) for one in again] == [("new", {"kind": "spokeshave"})]
    assert await layer.complete(tag, [result]) == 1
    assert (await layer.status(tag))["counts"] == {}


async def test_a_filter_can_ask_for_rows_without_an_output_that_no_row_has_yet(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(
        tag,
        target_namespaces=[tools],
        inputs=["kind"],
        filter=["And", [["summary", "Eq", None], ["Not", ["kind", "Eq", "drill"]]]],
        triggers=["discovery", "write"],
    )
    assert (await layer.discover(tag))["enqueued"] == 2
    assert keys(await layer.claim(tag)) == ["t-1", "t-2"]
    results = [
        {"namespace": tools, "id": id_, "attributes": {"summary": id_}} for id_ in ("t-1", "t-2")
    ]
    assert await layer.complete(tag, results) == 2

    # From now on the schema has it, and the store decides.
    await layer.put(
        tag,
        target_namespaces=[tools],
        inputs=["kind"],
        filter=["summary", "Eq", None],
        version="v2",
    )
    assert (await layer.discover(tag))["enqueued"] == 1
    assert keys(await layer.claim(tag)) == ["t-3"]


async def test_a_write_that_brings_the_attribute_of_a_filter_triggers(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    either = ["Or", [["kind", "Eq", "plane"], ["colour", "Eq", "red"]]]
    await layer.put(
        tag, target_namespaces=[tools], inputs=["colour"], filter=either, triggers=["write"]
    )

    async def written() -> list[Any]:
        await layer.write(tools, upsert_rows=[{"id": "new", "vector": [1, 1], "kind": "plane"}])
        return await layer.claim(tag)

    assert keys(await eventually(written)) == ["new"]
    # Writes are heard of now, and the schema is known, which it then is for a while.
    await layer.write(tools, patch_rows=[{"id": "t-1", "colour": "red"}])
    assert keys(await eventually(lambda: layer.claim(tag))) == ["t-1"]


async def test_a_sweep_can_be_made_in_parts(layer: FunctionSystem, tools: str, tag: str) -> None:
    await layer.put(tag, target_namespaces=[tools])
    found, cursor, parts = 0, None, 0
    while True:
        body = {"page_size": 1, "max_pages": 2, **({"cursor": cursor} if cursor else {})}
        part = await layer.discover(tag, **body)
        found, cursor, parts = found + part["enqueued"], part["next_cursor"], parts + 1
        assert part["complete"] is (cursor is None)
        assert part["pages_scanned"] <= 2
        if cursor is None:
            break
    assert (found, parts) == (3, 2)


async def test_sweeps_come_by_themselves_from_whichever_replica(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    schedule = {"discovery_interval_seconds": 1}
    await layer.put(tag, target_namespaces=[tools, "nowhere"], schedule=schedule)
    async with layer.further_runtime(), layer.further_runtime():
        assert keys(await eventually(lambda: layer.claim(tag))) == ["t-1", "t-2", "t-3"]

        async def swept_twice() -> bool:
            return bool((await layer.status(tag))["discovery"]["sweeps_completed"] >= 2)

        assert await eventually(swept_twice)


async def test_a_function_is_registered_once_listed_and_deleted(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    body = {"id": tag, "spec": {"worker": {"batch_size": 4}, "target_namespaces": [tools]}}
    made = await layer.call("POST", "/v2/udfs", body)
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
    assert (await layer.refused("POST", "/v2/udfs", body)).status == 409
    twin = await layer.refused("POST", "/v2/udfs", {**body, "id": tag.replace("-", "_")})
    assert (twin.status, twin.json["reason"]) == (409, "MARKER_TAKEN")
    listed = (await layer.call("GET", "/v2/udfs"))["udfs"]
    assert [one for one in listed if one["id"] == tag] == [made]
    got = await layer.call("GET", f"/v2/udfs/{tag}")
    assert (got["udf"], got["status"]["udf_id"]) == (made, tag)
    gone = await layer.call("DELETE", f"/v2/udfs/{tag}")
    assert gone["status"] == "ok"
    assert (await layer.refused("GET", f"/v2/udfs/{tag}/status")).status == 404
    assert (await layer.refused("DELETE", f"/v2/udfs/{tag}")).status == 404


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({}, "worker"),
        ({"worker": {}, "version": ""}, "spec.version"),
        ({"worker": {}, "inputs": ["a", "a"]}, "spec.inputs"),
        ({"worker": {}, "filter": ["kind", "Equals", 1]}, "spec.filter"),
        ({"worker": {}, "retry": {"max_attempts": 0}}, "max_attempts"),
        ({"worker": {}, "triggers": ["cron"]}, "triggers"),
        ({"worker": {}, "index_selector": {"matchExpressions": []}}, "matchExpressions"),
        (
            {
                "worker": {},
                "index_selector": {"matchLabels": {"team": "x"}},
                "triggers": ["discovery", "write"],
            },
            "spec.triggers",
        ),
        ({"worker": {}, "group_by_parent": True}, "group_by_parent"),
        ({"worker": {"url": "ftp://x"}}, "spec.worker.url"),
    ],
    ids=str,
)
async def test_a_refused_specification_names_its_field(
    layer: FunctionSystem, tag: str, spec: dict[str, Any], where: str
) -> None:
    answer = await layer.refused("PUT", f"/v2/udfs/{tag}", {"spec": spec})
    assert answer.status == 422
    assert where in answer.json["message"]
    assert (await layer.refused("GET", f"/v2/udfs/{tag}")).status == 404


async def test_a_refused_result_names_its_field(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools])
    item = {"namespace": tools, "id": "t-1"}
    for result, reason in (
        ({"attributes": {"_hevlayer_x": 1}}, "ATTRIBUTE_RESERVED"),
        ({"attributes": {"vector": [1, 2]}}, "ATTRIBUTE_RESERVED"),
        ({"vector": ["x"]}, "VECTOR_INVALID"),
        ({"vector": [1], "vectors": [[1]]}, "VECTOR_INVALID"),
    ):
        body = {"worker_id": "w1", "items": [{**item, **result}]}
        answer = await layer.refused("POST", f"/v2/udfs/{tag}/items/complete", body)
        assert (answer.status, answer.json["reason"]) == (422, reason)


async def test_a_candidate_is_compared_and_takes_the_place_of_its_function(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"])
    await layer.discover(tag)
    sizes = {"t-1": "S", "t-2": "S", "t-3": "L"}

    def results(values: dict[str, str]) -> list[Any]:
        return [
            {"namespace": tools, "id": id_, "attributes": {"size_class": value}}
            for id_, value in values.items()
        ]

    await layer.claim(tag)
    assert await layer.complete(tag, results(sizes)) == 3
    path = f"/v2/udfs/{tag}/candidate"
    assert (await layer.refused("GET", path)).status == 404
    made = await layer.call("POST", path, {"version": "v2", "outputs": ["size_class"]})
    candidate = made["candidate_id"]
    assert candidate == f"{tag}-candidate"
    again = await layer.refused("POST", path, {"version": "v3", "outputs": ["size_class"]})
    assert (again.status, again.json["reason"]) == (409, "CANDIDATE_EXISTS")
    early = await layer.refused("POST", f"{path}/promote", {})
    assert (early.status, early.json["reason"]) == (409, "CANDIDATE_UNFINISHED")

    assert (await layer.discover(candidate))["enqueued"] == 3
    await layer.claim(candidate)
    other = await layer.refused(
        "POST",
        f"/v2/udfs/{candidate}/items/complete",
        {"worker_id": "w1", "items": [{"namespace": tools, "id": "t-1", "attributes": {"x": 1}}]},
    )
    assert other.json["reason"] == "OUTPUT_UNKNOWN"
    assert await layer.complete(candidate, results({**sizes, "t-2": "M"})) == 3
    assert (await layer.row(tools, "t-2"))["size_class"] == "S"

    compared = await layer.call("GET", f"{path}/compare?namespace={tools}")
    assert (compared["rows_compared"], compared["rows_agreed"]) == (3, 2)
    assert compared["disagreements"] == [
        {"namespace": tools, "id": "t-2", "output": "size_class", "live": "S", "candidate": "M"}
    ]
    (output,) = compared["outputs"]
    assert (output["compared"], output["agreed"]) == (3, 2)
    assert {"live": "S", "candidate": "M", "count": 1} in output["confusion"]

    promoted = await layer.call("POST", f"{path}/promote", {})
    assert promoted == {"udf_id": tag, "promoted_rows": 3, "version": "v2"}
    row = await layer.row(tools, "t-2")
    assert row == {"kind": "saw", "size": 2, "size_class": "M", marker(tag): "v2"}
    assert (await layer.refused("GET", path)).status == 404
    assert (await layer.discover(tag))["enqueued"] == 0


async def test_a_discarded_candidate_leaves_nothing(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools])
    path = f"/v2/udfs/{tag}/candidate"
    await layer.call("POST", path, {"version": "v2", "outputs": ["x"]})
    candidate = f"{tag}-candidate"
    await layer.discover(candidate)
    items = await layer.claim(candidate)
    results = [{"namespace": tools, "id": i["id"], "attributes": {"x": 1}} for i in items]
    assert await layer.complete(candidate, results) == 3
    before = await layer.row(tools, "t-1")
    assert before[f"_hevlayer_cand_{tag.replace('-', '_')}_x"] == 1
    await layer.call("DELETE", path)
    assert await layer.row(tools, "t-1") == {"kind": "saw", "size": 1}
    assert (await layer.refused("GET", path)).status == 404


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


async def test_batches_are_pushed_to_workers_that_say_where_they_are(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    asked: list[Any] = []

    async def run(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append(body)
        results = [
            {"namespace": item["namespace"], "id": item["id"], "attributes": {"pushed": True}}
            for item in body["items"]
            if item["id"] != "t-2"
        ]
        error = {"kind": "permanent", "message": "no good"}
        refused = {"namespace": tools, "id": "t-2", "error": error}
        return web.json_response({"results": [*results, refused]})

    app = web.Application()
    app.router.add_post("/run", run)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        worker = {"url": f"http://{host}:{port}", "batch_size": 2}
        await layer.put(tag, target_namespaces=[tools], inputs=["kind"], worker=worker)
        await layer.discover(tag)

        async def is_done() -> bool:
            return bool((await layer.status(tag))["counts"] == {"failed": 1})

        assert await eventually(is_done)
    finally:
        await runner.cleanup()
    assert {len(body["items"]) for body in asked} == {1, 2}
    assert asked[0]["udf_id"] == tag
    assert {item["id"] for body in asked for item in body["items"]} == {"t-1", "t-2", "t-3"}
    assert (await layer.row(tools, "t-3"))["pushed"] is True


async def test_a_worker_that_is_away_costs_attempts(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    worker = {"url": "http://127.0.0.1:9", "timeout_seconds": 1}
    retry = {"max_attempts": 1}
    await layer.put(tag, target_namespaces=[tools], worker=worker, retry=retry)
    await layer.discover(tag)

    async def is_given_up() -> bool:
        return bool((await layer.status(tag))["failed_count"] == 3)

    assert await eventually(is_given_up)
    failed = (await layer.call("GET", f"/v2/udfs/{tag}/items/failed?limit=2"))["items"]
    assert len(failed) == 2
    assert failed[0]["message"].startswith("The worker failed: ")
