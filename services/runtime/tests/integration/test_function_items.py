"""Items of functions, from registration to results, over HTTP and over gRPC."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from layer_testing.edge_calls import eventually
from layer_testing.function_system import FunctionSystem, keys, marker

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    failed = await layer.calls.failed(tag)
    assert [(one["id"], one["message"], one["attempts"]) for one in failed] == [
        ("t-1", "unreadable", 1),
        ("t-2", "429", 2),
    ]
    assert (await layer.discover(tag))["enqueued"] == 0
    assert await layer.calls.reset_failed(tag) == 2
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
    failed = await layer.calls.failed(tag)
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


async def test_a_result_that_cannot_be_is_refused(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools])
    item = {"namespace": tools, "id": "t-1"}
    for result, reason in (
        ({"attributes": {"_hevlayer_x": 1}}, "ATTRIBUTE_RESERVED"),
        ({"attributes": {"vector": [1, 2]}}, "ATTRIBUTE_RESERVED"),
        ({"prepared_receipt": "x"}, "RECEIPT_INVALID"),
        ({"prepared_receipt": "A" * 43}, "RECEIPT_INVALID"),
    ):
        assert await layer.refusal(layer.complete(tag, [{**item, **result}])) == reason


async def test_what_became_of_each_result_is_told(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools, "nowhere"], inputs=["kind"])
    await layer.write(tools, upsert_rows=[{"id": "t-4", "vector": [1, 1], "kind": "awl"}])
    await layer.discover(tag)
    await layer.claim(tag)
    await layer.write(tools, deletes=["t-1"], patch_rows=[{"id": "t-2", "kind": "hammer"}])
    results = [
        {"namespace": tools, "id": "t-3", "attributes": {"n": 0}},
        {"namespace": tools, "id": "t-1", "attributes": {"n": 1}},
        {"namespace": tools, "id": "t-2", "attributes": {"n": 2}},
        {"namespace": tools, "id": "t-3", "attributes": {"n": 3}},
        {"namespace": tools, "id": "t-4", "attributes": {"kind": 4}},
        {"namespace": "nowhere", "id": "x", "attributes": {"n": 5}},
    ]
    count, found = await layer.calls.complete(tag, "w1", results)
    assert found == ["superseded", "gone", "stale", "completed", "refused", "not_held"]
    assert count == 3
    assert (await layer.row(tools, "t-3"))["n"] == 3
    # The worker did not hear of it, and sends the same again.
    assert await layer.dispositions(tag, results[3:4]) == ["not_held"]
    (one,) = await layer.calls.look_up(tag, results[3:4])
    assert (one["id"], one["state"]) == ("t-3", "completed")


async def test_a_receipt_stands_for_its_claim_and_no_other(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"])
    await layer.discover(tag)
    first, second, _ = await layer.claim(tag)

    def result(item: dict[str, Any], **more: object) -> dict[str, Any]:
        known = {name: item[name] for name in ("namespace", "id", "prepared_receipt")}
        return {**known, "attributes": {"x": 1}, **more}

    swapped = {**result(first), "prepared_receipt": second["prepared_receipt"]}
    assert await layer.refusal(layer.complete(tag, [swapped])) == "RECEIPT_INVALID"
    other = result(first, lease_token=first["lease_token"] + 1)
    assert await layer.refusal(layer.complete(tag, [other])) == "RECEIPT_INVALID"
    assert await layer.heartbeat(tag, [result(first)]) == 1
    assert await layer.fail(tag, [result(first, kind="released")]) == 1
    (again,) = await layer.claim(tag)
    assert again["id"] == first["id"]
    assert again["input_revision"] == first["input_revision"]
    assert again["prepared_receipt"] != first["prepared_receipt"]
    assert await layer.dispositions(tag, [result(first)]) == ["not_held"]
    assert await layer.dispositions(tag, [result(again), result(second)]) == ["completed"] * 2


async def test_a_result_of_other_inputs_than_those_handed_out_is_dropped(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"], filter=["id", "Eq", "t-1"])
    await layer.discover(tag)
    (first,) = await layer.claim(tag)
    await layer.fail(tag, [{**first, "kind": "released"}])
    await layer.write(tools, patch_rows=[{"id": "t-1", "kind": "chisel"}])
    (second,) = await layer.claim(tag)
    assert second["input_revision"] != first["input_revision"]
    result = {"namespace": tools, "id": "t-1", "attributes": {"of": "saw"}}
    late = {**result, "input_revision": first["input_revision"]}
    assert await layer.dispositions(tag, [late]) == ["stale"]
    assert "of" not in await layer.row(tools, "t-1")
    (third,) = await layer.claim(tag)
    assert third["input_revision"] == second["input_revision"]
    right = {**result, "input_revision": third["input_revision"]}
    assert await layer.dispositions(tag, [right]) == ["completed"]


async def test_items_are_looked_up_wherever_they_are(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    more = [{"id": f"t-{at}", "vector": [1, 1], "kind": "awl"} for at in (4, 5)]
    await layer.write(tools, upsert_rows=more)
    kinds = ["id", "In", ["t-1", "t-2", "t-3", "t-4"]]
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"], filter=kinds)
    await layer.discover(tag)
    items = await layer.claim(tag, limit=3)
    results = [{"namespace": tools, "id": item["id"]} for item in items]
    await layer.complete(tag, results[:1])
    await layer.fail(tag, [{**results[1], "kind": "permanent", "message": "no"}])
    asked = [{"namespace": tools, "id": f"t-{at}"} for at in (6, 5, 4, 3, 2, 1, 3)]
    found = await layer.calls.look_up(tag, [*asked, {"namespace": "nowhere", "id": "x"}])
    assert [(one["id"], one["state"]) for one in found] == [
        ("t-6", "absent"),
        ("t-5", "due"),
        ("t-4", "pending"),
        ("t-3", "processing"),
        ("t-2", "failed"),
        ("t-1", "completed"),
        ("t-3", "processing"),
        ("x", "absent"),
    ]
    held, failed = found[3], found[4]
    assert (held["worker_id"], held["lease_token"]) == ("w1", items[2]["lease_token"])
    assert held["claimable_at"].endswith("Z")
    assert (failed["attempts"], failed["message"]) == (1, "no")
    assert "claimable_at" not in failed
    too_many = [{"namespace": tools, "id": str(at)} for at in range(1001)]
    reason = await layer.refusal(layer.calls.look_up(tag, too_many))
    assert reason in {"TOO_MANY_ITEMS", "JSON_SHAPE"}
