"""Candidates of functions: compared, promoted and discarded, over HTTP and over gRPC."""

from __future__ import annotations

from typing import Any

import pytest

from layer_testing.function_system import FunctionSystem, marker

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    assert await layer.refusal(layer.calls.candidate(tag)) == "CANDIDATE_NOT_FOUND"
    made = await layer.calls.try_candidate(tag, {"version": "v2", "outputs": ["size_class"]})
    candidate = made["candidate_id"]
    assert candidate == f"{tag}-candidate"
    again = layer.calls.try_candidate(tag, {"version": "v3", "outputs": ["size_class"]})
    assert await layer.refusal(again) == "CANDIDATE_EXISTS"
    assert await layer.refusal(layer.calls.promote(tag)) == "CANDIDATE_UNFINISHED"

    assert (await layer.discover(candidate))["enqueued"] == 3
    await layer.claim(candidate)
    other = [{"namespace": tools, "id": "t-1", "attributes": {"x": 1}}]
    assert await layer.refusal(layer.complete(candidate, other)) == "OUTPUT_UNKNOWN"
    assert await layer.complete(candidate, results({**sizes, "t-2": "M"})) == 3
    assert (await layer.row(tools, "t-2"))["size_class"] == "S"

    compared = await layer.calls.compare(tag, tools)
    assert (compared["rows_compared"], compared["rows_agreed"]) == (3, 2)
    assert compared["disagreements"] == [
        {"namespace": tools, "id": "t-2", "output": "size_class", "live": "S", "candidate": "M"}
    ]
    (output,) = compared["outputs"]
    assert (output["compared"], output["agreed"]) == (3, 2)
    assert {"live": "S", "candidate": "M", "count": 1} in output["confusion"]

    promoted = await layer.calls.promote(tag)
    assert promoted == {"udf_id": tag, "promoted_rows": 3, "version": "v2"}
    row = await layer.row(tools, "t-2")
    assert row == {"kind": "saw", "size": 2, "size_class": "M", marker(tag): "v2"}
    assert await layer.refusal(layer.calls.candidate(tag)) == "CANDIDATE_NOT_FOUND"
    assert (await layer.discover(tag))["enqueued"] == 0


async def test_a_discarded_candidate_leaves_nothing(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools])
    await layer.calls.try_candidate(tag, {"version": "v2", "outputs": ["x"]})
    candidate = f"{tag}-candidate"
    await layer.discover(candidate)
    items = await layer.claim(candidate)
    results = [{"namespace": tools, "id": i["id"], "attributes": {"x": 1}} for i in items]
    assert await layer.complete(candidate, results) == 3
    before = await layer.row(tools, "t-1")
    assert before[f"_hevlayer_cand_{tag.replace('-', '_')}_x"] == 1
    await layer.calls.discard(tag)
    assert await layer.row(tools, "t-1") == {"kind": "saw", "size": 1}
    assert await layer.refusal(layer.calls.candidate(tag)) == "CANDIDATE_NOT_FOUND"


async def test_a_candidate_is_registered_by_a_specification_of_its_own(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(tag, target_namespaces=[tools], inputs=["kind"], invalidates=["others"])
    candidate = f"{tag}-candidate"
    role = {"of": tag, "outputs": ["x"]}
    spec: dict[str, Any] = {"target_namespaces": [tools], "version": "v2", "candidate": role}
    whole = {**spec, "worker": {}, "invalidates": ["others"]}
    made = await layer.calls.create(candidate, whole, paused=True)
    assert made["paused"] is True
    assert (made["spec"]["candidate"], made["spec"]["invalidates"]) == (role, [])
    twice = layer.calls.create(candidate, whole, paused=False)
    assert await layer.refusal(twice) == "CANDIDATE_EXISTS"
    await layer.calls.resume(candidate)

    put = await layer.put(candidate, **{**spec, "inputs": ["size"]})
    assert (put["spec"]["inputs"], put["spec"]["candidate"]) == (["size"], role)
    assert (await layer.calls.candidate(tag))["version"] == "v2"
    await layer.discover(candidate)
    (item, *_) = await layer.claim(candidate)
    result = {"namespace": tools, "id": item["id"], "attributes": {"x": 7}}
    assert await layer.complete(candidate, [result]) == 1
    row = await layer.row(tools, item["id"])
    assert row[f"_hevlayer_cand_{tag.replace('-', '_')}_x"] == 7

    for wrong in (
        layer.put(candidate, **{**spec, "candidate": {"of": tag, "outputs": ["y"]}}),
        layer.put(f"{tag}-other", **spec),
        layer.put(candidate, **{**spec, "version": "v1"}),
        layer.put(candidate, **{**spec, "candidate": {"of": candidate, "outputs": ["x"]}}),
    ):
        assert await layer.refusal(wrong) in {"SPEC_INVALID", "FUNCTION_ID_INVALID"}
    unknown = {**spec, "candidate": {"of": "nobody", "outputs": ["x"]}}
    assert await layer.refusal(layer.put("nobody-candidate", **unknown)) == "FUNCTION_NOT_FOUND"
