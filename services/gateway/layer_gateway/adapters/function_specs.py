"""Specifications, functions and their status: JSON of the contract to messages, and back."""

from __future__ import annotations

from datetime import UTC
from typing import Final

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.filter_parsing import parse_filter
from layer_messages.filters import filter_json
from layer_wire import functions as wire
from layer_wire.jsontext import Raw, is_null

Json = dict[str, object]

TRIGGERS: Final[dict[str, runtime_pb2.FunctionTrigger.ValueType]] = {
    "discovery": runtime_pb2.FUNCTION_TRIGGER_DISCOVERY,
    "write": runtime_pb2.FUNCTION_TRIGGER_WRITE,
    wire.SCHEDULE: runtime_pb2.FUNCTION_TRIGGER_SCHEDULE,
}
OPERATORS: Final[dict[str, runtime_pb2.LabelOperator.ValueType]] = {
    "In": runtime_pb2.LABEL_OPERATOR_IN,
    "NotIn": runtime_pb2.LABEL_OPERATOR_NOT_IN,
    "Exists": runtime_pb2.LABEL_OPERATOR_EXISTS,
    "DoesNotExist": runtime_pb2.LABEL_OPERATOR_DOES_NOT_EXIST,
}
_OPERATOR_NAMES: Final = {value: name for name, value in OPERATORS.items()}
_TRIGGER_NAMES: Final = {value: name for name, value in TRIGGERS.items()}


def spec_message(spec: wire.UdfSpec) -> runtime_pb2.FunctionSpec:
    """Return a specification as a message, in which 0 and empty mean the default.

    Raises:
        InvalidRequestError: ``FILTER_INVALID`` or ``SPEC_INVALID``.
    """
    schedule = spec.schedule or wire.UdfSchedule()
    retry = spec.retry or wire.UdfRetry()
    selector = spec.index_selector or wire.IndexSelector()
    if spec.version == "":
        raise InvalidRequestError("SPEC_INVALID", "spec.version is empty.", field="spec.version")
    return runtime_pb2.FunctionSpec(
        target_namespaces=spec.target_namespaces or (),
        index_labels=selector.match_labels,
        index_requirements=[
            runtime_pb2.LabelRequirement(
                key=one.key, operator=OPERATORS[one.operator], values=one.values or ()
            )
            for one in selector.match_expressions or ()
        ],
        inputs=spec.inputs or (),
        version=spec.version or "",
        filter=filter_message(spec.filter, "spec.filter"),
        triggers=[TRIGGERS[name] for name in spec.triggers or ()],
        invalidates=spec.invalidates or (),
        worker=worker_message(spec.worker),
        schedule=runtime_pb2.FunctionSchedule(
            discovery_interval_s=schedule.discovery_interval_seconds or 0,
            lease_s=schedule.lease_seconds or 0,
            in_flight_batch_count_max=schedule.max_in_flight_batches or 0,
            concurrent_scan_count_max=schedule.max_concurrent_scans or 0,
            cron=schedule.cron or "",
        ),
        retry=runtime_pb2.FunctionRetry(
            attempt_count_max=retry.max_attempts or 0,
            backoff_initial_s=retry.initial_backoff_seconds or 0,
            backoff_max_s=retry.max_backoff_seconds or 0,
        ),
        queries_per_item=spec.queries_per_item or 0,
        is_grouped_by_parent=bool(spec.group_by_parent),
        candidate=_role(spec.candidate),
    )


def _role(found: wire.CandidateRole | None) -> runtime_pb2.CandidateRole | None:
    if found is None:
        return None
    return runtime_pb2.CandidateRole(function_id=found.of, outputs=found.outputs)


def worker_message(worker: wire.UdfWorker) -> runtime_pb2.FunctionWorker:
    return runtime_pb2.FunctionWorker(
        image=worker.image or "",
        url=worker.url or "",
        port=worker.port or 0,
        batch_size=worker.batch_size or 0,
        timeout_s=worker.timeout_seconds or 0,
        pod_spec_json=b"" if is_null(worker.pod_spec) else bytes(worker.pod_spec),
    )


def filter_message(found: Raw, where: str) -> common_pb2.Filter | None:
    """Return a filter as a message, None where there is none."""
    if is_null(found):
        return None
    return parse_filter(msgspec.json.decode(found), where)


def function_json(function: runtime_pb2.Function) -> Json:
    return {
        "id": function.function_id,
        "spec": spec_json(function.spec),
        "paused": function.is_paused,
        "created_at": rfc3339(function.create_time),
        "updated_at": rfc3339(function.update_time),
    }


def spec_json(spec: runtime_pb2.FunctionSpec) -> Json:
    """Return a specification with every default, and without what has none and is not set."""
    worker, schedule, retry = spec.worker, spec.schedule, spec.retry
    found: Json = {
        "target_namespaces": list(spec.target_namespaces),
        "inputs": list(spec.inputs),
        "version": spec.version,
        "worker": {
            "batch_size": worker.batch_size,
            "timeout_seconds": worker.timeout_s,
            **({"image": worker.image} if worker.image else {}),
            **({"url": worker.url} if worker.url else {}),
            **({"port": worker.port} if worker.port else {}),
            **({"pod_spec": Raw(worker.pod_spec_json)} if worker.pod_spec_json else {}),
        },
        "schedule": {
            "discovery_interval_seconds": schedule.discovery_interval_s,
            "lease_seconds": schedule.lease_s,
            "max_in_flight_batches": schedule.in_flight_batch_count_max,
            "max_concurrent_scans": schedule.concurrent_scan_count_max,
            **({"cron": schedule.cron} if schedule.cron else {}),
        },
        "retry": {
            "max_attempts": retry.attempt_count_max,
            "initial_backoff_seconds": retry.backoff_initial_s,
            "max_backoff_seconds": retry.backoff_max_s,
        },
        # Published clients know two triggers and refuse the answer with a third. That there is a
        # schedule is said by `schedule.cron`, which means the trigger when it is sent back.
        "triggers": [
            name for one in spec.triggers if (name := _TRIGGER_NAMES[one]) != wire.SCHEDULE
        ],
        "invalidates": list(spec.invalidates),
    }
    if selector := _selector_json(spec):
        found["index_selector"] = selector
    if spec.HasField("filter"):
        found["filter"] = filter_json(spec.filter, "spec.filter")
    if spec.queries_per_item:
        found["queries_per_item"] = spec.queries_per_item
    if spec.is_grouped_by_parent:
        found["group_by_parent"] = True
    if spec.HasField("candidate"):
        role = spec.candidate
        found["candidate"] = {"of": role.function_id, "outputs": list(role.outputs)}
    return found


def _selector_json(spec: runtime_pb2.FunctionSpec) -> Json:
    found: Json = {}
    if spec.index_labels:
        found[wire.MATCH_LABELS] = dict(spec.index_labels)
    if spec.index_requirements:
        found[wire.MATCH_EXPRESSIONS] = [
            {
                "key": one.key,
                "operator": _OPERATOR_NAMES[one.operator],
                **({"values": list(one.values)} if one.values else {}),
            }
            for one in spec.index_requirements
        ]
    return found


def status_json(function_id: str, status: runtime_pb2.FunctionStatus) -> Json:
    has_swept = status.HasField("last_sweep_time")
    found: Json = {
        "udf_id": function_id,
        "paused": status.is_paused,
        "active_namespaces": list(status.active_namespaces),
        "discovery": {
            "sweeps_completed": status.completed_sweep_count,
            "last_completed_at": rfc3339(status.last_sweep_time) if has_swept else None,
            "consecutive_failures": status.consecutive_failure_count,
        },
        "counts": dict(status.state_counts),
        "pending_count": status.pending_count,
        "processing_count": status.processing_count,
        "failed_count": status.failed_count,
        "indexed_rate_per_min": status.completed_per_minute,
        "rate_window_seconds": status.rate_window_s,
    }
    if status.is_paused:
        found["pause_reason"] = status.pause_reason
    if status.HasField("query_budget"):
        found["query_budget"] = {
            "queries_per_item": status.query_budget.queries_per_item,
            "pending_queries": status.query_budget.pending_query_count,
            "queries_per_min": status.query_budget.queries_per_minute,
        }
    if status.HasField("window"):
        found["schedule"] = window_json(status.window)
    return found


def window_json(window: runtime_pb2.ScheduleWindow) -> Json:
    has_fired = window.HasField("last_firing_time")
    return {
        "window_open": window.is_open,
        "next_firing_at": rfc3339(window.next_firing_time),
        "last_firing_at": rfc3339(window.last_firing_time) if has_fired else None,
    }


def rfc3339(moment: Timestamp) -> str:
    found = moment.ToDatetime(tzinfo=UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
