"""Functions and their items: messages of the runtime, and what HTTP would say in their place.

It is written by the contract and shares nothing with what the gateway does, so that tests which
pass over both transports tell that these agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_messages.filter_parsing import parse_filter
from layer_messages.filters import filter_json
from layer_messages.values import fill_value, plain_json
from layer_testing.function_calls import Json
from layer_wire.jsontext import Raw

_OPERATORS: Final = {
    "In": "IN",
    "NotIn": "NOT_IN",
    "Exists": "EXISTS",
    "DoesNotExist": "DOES_NOT_EXIST",
}


def spec_message(spec: Mapping[str, Any]) -> runtime_pb2.FunctionSpec:
    worker, schedule = spec.get("worker", {}), spec.get("schedule", {})
    retry, selector = spec.get("retry", {}), spec.get("index_selector", {})
    message = runtime_pb2.FunctionSpec(
        target_namespaces=spec.get("target_namespaces", ()),
        index_labels=selector.get("matchLabels"),
        inputs=spec.get("inputs", ()),
        version=spec.get("version", ""),
        triggers=[
            runtime_pb2.FunctionTrigger.Value(f"FUNCTION_TRIGGER_{name.upper()}")
            for name in spec.get("triggers", ())
        ],
        invalidates=spec.get("invalidates", ()),
        worker=runtime_pb2.FunctionWorker(
            url=worker.get("url", ""),
            port=worker.get("port", 0),
            batch_size=worker.get("batch_size", 0),
            timeout_s=worker.get("timeout_seconds", 0),
        ),
        schedule=runtime_pb2.FunctionSchedule(
            discovery_interval_s=schedule.get("discovery_interval_seconds", 0),
            lease_s=schedule.get("lease_seconds", 0),
            cron=schedule.get("cron", ""),
        ),
        retry=runtime_pb2.FunctionRetry(
            attempt_count_max=retry.get("max_attempts", 0),
            backoff_initial_s=retry.get("initial_backoff_seconds", 0),
            backoff_max_s=retry.get("max_backoff_seconds", 0),
        ),
        queries_per_item=spec.get("queries_per_item", 0),
        is_grouped_by_parent=spec.get("group_by_parent", False),
    )
    for one in selector.get("matchExpressions", ()):
        operator = f"LABEL_OPERATOR_{_OPERATORS[one['operator']]}"
        message.index_requirements.add(
            key=one["key"],
            operator=runtime_pb2.LabelOperator.Value(operator),
            values=one.get("values", ()),
        )
    if "filter" in spec:
        message.filter.CopyFrom(parse_filter(spec["filter"], "filter"))
    if "candidate" in spec:
        message.candidate.function_id = spec["candidate"]["of"]
        message.candidate.outputs.extend(spec["candidate"]["outputs"])
    return message


def function_json(function: runtime_pb2.Function) -> Json:
    spec = function.spec
    found: Json = {
        "target_namespaces": list(spec.target_namespaces),
        "inputs": list(spec.inputs),
        "version": spec.version,
        "worker": {
            "batch_size": spec.worker.batch_size,
            "timeout_seconds": spec.worker.timeout_s,
        },
        "schedule": {
            "discovery_interval_seconds": spec.schedule.discovery_interval_s,
            "lease_seconds": spec.schedule.lease_s,
            "max_in_flight_batches": spec.schedule.in_flight_batch_count_max,
            "max_concurrent_scans": spec.schedule.concurrent_scan_count_max,
        },
        "retry": {
            "max_attempts": spec.retry.attempt_count_max,
            "initial_backoff_seconds": spec.retry.backoff_initial_s,
            "max_backoff_seconds": spec.retry.backoff_max_s,
        },
        # HTTP says by `schedule.cron` alone that there is a schedule.
        "triggers": [
            word(runtime_pb2.FunctionTrigger.Name(one), "FUNCTION_TRIGGER_")
            for one in spec.triggers
            if one != runtime_pb2.FUNCTION_TRIGGER_SCHEDULE
        ],
        "invalidates": list(spec.invalidates),
    }
    assert bool(spec.schedule.cron) is (runtime_pb2.FUNCTION_TRIGGER_SCHEDULE in spec.triggers)
    if spec.schedule.cron:
        found["schedule"]["cron"] = spec.schedule.cron
    if spec.HasField("filter"):
        found["filter"] = filter_json(spec.filter, "filter")
    if spec.queries_per_item:
        found["queries_per_item"] = spec.queries_per_item
    if spec.is_grouped_by_parent:
        found["group_by_parent"] = True
    if spec.index_labels or spec.index_requirements:
        found["index_selector"] = _selector(spec)
    if spec.HasField("candidate"):
        role = spec.candidate
        found["candidate"] = {"of": role.function_id, "outputs": list(role.outputs)}
    return {"id": function.function_id, "spec": found, "paused": function.is_paused}


def _selector(spec: runtime_pb2.FunctionSpec) -> Json:
    names = {f"LABEL_OPERATOR_{value}": name for name, value in _OPERATORS.items()}
    expressions = [
        {
            "key": one.key,
            "operator": names[runtime_pb2.LabelOperator.Name(one.operator)],
            **({"values": list(one.values)} if one.values else {}),
        }
        for one in spec.index_requirements
    ]
    labels = {"matchLabels": dict(spec.index_labels)} if spec.index_labels else {}
    return labels | ({"matchExpressions": expressions} if expressions else {})


def status_json(function_id: str, status: runtime_pb2.FunctionStatus) -> Json:
    found: Json = {
        "udf_id": function_id,
        "paused": status.is_paused,
        "active_namespaces": list(status.active_namespaces),
        "discovery": {
            "sweeps_completed": status.completed_sweep_count,
            "last_completed_at": status.last_sweep_time.ToJsonString()
            if status.HasField("last_sweep_time")
            else None,
            "consecutive_failures": status.consecutive_failure_count,
        },
        "counts": dict(status.state_counts),
        "pending_count": status.pending_count,
        "processing_count": status.processing_count,
        "failed_count": status.failed_count,
        "indexed_rate_per_min": status.completed_per_minute,
        "rate_window_seconds": status.rate_window_s,
    }
    if status.pause_reason:
        found["pause_reason"] = status.pause_reason
    if status.HasField("query_budget"):
        budget = status.query_budget
        found["query_budget"] = {
            "queries_per_item": budget.queries_per_item,
            "pending_queries": budget.pending_query_count,
            "queries_per_min": budget.queries_per_minute,
        }
    if status.HasField("window"):
        window = status.window
        found["schedule"] = {
            "window_open": window.is_open,
            "next_firing_at": window.next_firing_time.ToJsonString(),
            "last_firing_at": window.last_firing_time.ToJsonString()
            if window.HasField("last_firing_time")
            else None,
        }
    return found


def candidate_json(candidate: runtime_pb2.Candidate) -> Json:
    return {
        "udf_id": candidate.function_id,
        "candidate_id": candidate.candidate_id,
        "version": candidate.spec.version,
        "outputs": list(candidate.outputs),
    }


def claimed_json(item: runtime_pb2.ClaimedItem) -> Json:
    found: Json = {
        **key_json(item.item),
        "lease_token": item.item.lease_token,
        "input": _inputs(item.inputs),
        "input_revision": item.input_revision,
        "prepared_receipt": item.prepared_receipt,
    }
    if item.pages:
        assert not found["input"]
        found["pages"] = [
            {"id": page.id.text, "index": page.index, "input": _inputs(page.inputs)}
            for page in item.pages
        ]
        names = found["pages"][0]["input"]
        found["input"] = {name: [page["input"][name] for page in found["pages"]] for name in names}
    return found


def found_json(one: runtime_pb2.FoundItem) -> Json:
    found: Json = {
        **key_json(one.item),
        "state": word(runtime_pb2.ItemState.Name(one.state), "ITEM_STATE_"),
        "attempts": one.attempt_count,
    }
    if one.message:
        found["message"] = one.message
    if one.worker_id:
        found |= {"worker_id": one.worker_id, "lease_token": one.item.lease_token}
    if one.HasField("claimable_time"):
        found["claimable_at"] = one.claimable_time.ToJsonString()
    return found


def result_message(item: Json) -> runtime_pb2.CompletedItem:
    message = runtime_pb2.CompletedItem(
        item=reference_message(item), input_revision=item.get("input_revision", "")
    )
    for name, value in item.get("attributes", {}).items():
        message.attributes[name].CopyFrom(_value(value, ""))
    if "vector" in item:
        message.vector.CopyFrom(_value(item["vector"], "[0]f32").vector_value)
    if "vectors" in item:
        message.vectors.CopyFrom(_value(item["vectors"], "[][0]f32").vector_list_value)
    return message


def _value(value: object, type_: str) -> common_pb2.Value:
    message = common_pb2.Value()
    fill_value(message, Raw(msgspec.json.encode(value)), type_)
    return message


def _inputs(inputs: Mapping[str, common_pb2.Value]) -> Json:
    # What JSON cannot tell apart is made the same here, as HTTP does.
    text = msgspec.json.encode({name: plain_json(value, name) for name, value in inputs.items()})
    found: Json = msgspec.json.decode(text)
    return found


def reference_message(item: Json) -> runtime_pb2.ItemReference:
    return runtime_pb2.ItemReference(
        namespace=item["namespace"],
        id=common_pb2.DocumentId(text=item["id"]),
        lease_token=item.get("lease_token", 0),
        prepared_receipt=item.get("prepared_receipt", ""),
    )


def key_json(item: runtime_pb2.ItemReference) -> Json:
    return {"namespace": item.namespace, "id": item.id.text}


def word(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()
