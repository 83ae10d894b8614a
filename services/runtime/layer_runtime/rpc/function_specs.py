"""Functions: messages to what they are told, and back."""

from __future__ import annotations

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.filters import filter_json
from layer_runtime.application.function_registry import RATE_WINDOW_S, Status
from layer_runtime.domain.functions import FunctionSpec, Retry, Schedule, Trigger, Worker
from layer_runtime.ports.functions import Function

TRIGGERS: Final[dict[runtime_pb2.FunctionTrigger.ValueType, Trigger]] = {
    runtime_pb2.FUNCTION_TRIGGER_DISCOVERY: Trigger.DISCOVERY,
    runtime_pb2.FUNCTION_TRIGGER_WRITE: Trigger.WRITE,
}
_TRIGGER_VALUES: Final = {trigger: value for value, trigger in TRIGGERS.items()}


def parse_spec(message: runtime_pb2.FunctionSpec) -> FunctionSpec:
    """Return a specification with defaults where the message has 0 or nothing.

    Raises:
        InvalidRequestError: ``SPEC_INVALID`` or ``FILTER_INVALID``.
    """
    spec, schedule, retry = FunctionSpec(), message.schedule, message.retry
    for trigger in message.triggers:
        if trigger not in TRIGGERS:
            raise InvalidRequestError(
                "SPEC_INVALID", f"spec.triggers: {trigger} is none.", field="spec.triggers"
            )
    return FunctionSpec(
        target_namespaces=tuple(message.target_namespaces),
        index_labels=dict(message.index_labels),
        inputs=tuple(message.inputs),
        version=message.version or spec.version,
        filter=parse_filter_bytes(message.filter) if message.HasField("filter") else b"",
        triggers=tuple(dict.fromkeys(TRIGGERS[one] for one in message.triggers)) or spec.triggers,
        invalidates=tuple(message.invalidates),
        worker=parse_worker(message.worker),
        schedule=Schedule(
            discovery_interval_s=schedule.discovery_interval_s
            or spec.schedule.discovery_interval_s,
            lease_s=schedule.lease_s or spec.schedule.lease_s,
            in_flight_batch_count_max=schedule.in_flight_batch_count_max
            or spec.schedule.in_flight_batch_count_max,
            concurrent_scan_count_max=schedule.concurrent_scan_count_max
            or spec.schedule.concurrent_scan_count_max,
        ),
        retry=Retry(
            attempt_count_max=retry.attempt_count_max or spec.retry.attempt_count_max,
            backoff_initial_s=retry.backoff_initial_s or spec.retry.backoff_initial_s,
            backoff_max_s=retry.backoff_max_s
            or max(spec.retry.backoff_max_s, retry.backoff_initial_s),
        ),
    )


def parse_worker(message: runtime_pb2.FunctionWorker) -> Worker:
    default = Worker()
    return Worker(
        image=message.image,
        url=message.url,
        port=message.port,
        batch_size=message.batch_size or default.batch_size,
        timeout_s=message.timeout_s or default.timeout_s,
        pod_spec=message.pod_spec_json,
    )


def parse_filter_bytes(message: common_pb2.Filter) -> bytes:
    """Return a filter as it is kept.

    Raises:
        InvalidRequestError: ``FILTER_INVALID``.
    """
    filter_json(message, "spec.filter")
    return message.SerializeToString(deterministic=True)


def spec_message(spec: FunctionSpec) -> runtime_pb2.FunctionSpec:
    worker, schedule, retry = spec.worker, spec.schedule, spec.retry
    message = runtime_pb2.FunctionSpec(
        target_namespaces=spec.target_namespaces,
        index_labels=spec.index_labels,
        inputs=spec.inputs,
        version=spec.version,
        triggers=[_TRIGGER_VALUES[trigger] for trigger in spec.triggers],
        invalidates=spec.invalidates,
        worker=runtime_pb2.FunctionWorker(
            image=worker.image,
            url=worker.url,
            port=worker.port,
            batch_size=worker.batch_size,
            timeout_s=worker.timeout_s,
            pod_spec_json=worker.pod_spec,
        ),
        schedule=runtime_pb2.FunctionSchedule(
            discovery_interval_s=schedule.discovery_interval_s,
            lease_s=schedule.lease_s,
            in_flight_batch_count_max=schedule.in_flight_batch_count_max,
            concurrent_scan_count_max=schedule.concurrent_scan_count_max,
        ),
        retry=runtime_pb2.FunctionRetry(
            attempt_count_max=retry.attempt_count_max,
            backoff_initial_s=retry.backoff_initial_s,
            backoff_max_s=retry.backoff_max_s,
        ),
    )
    if spec.filter:
        message.filter.ParseFromString(spec.filter)
    return message


def function_message(function: Function) -> runtime_pb2.Function:
    return runtime_pb2.Function(
        function_id=function.id,
        spec=spec_message(function.spec),
        is_paused=function.is_paused,
        create_time=stamp(function.created_at_ms),
        update_time=stamp(function.updated_at_ms),
    )


def status_message(status: Status) -> runtime_pb2.FunctionStatus:
    function, figures = status.function, status.figures
    swept_at_ms = function.swept_at_ms
    return runtime_pb2.FunctionStatus(
        is_paused=function.is_paused,
        active_namespaces=sorted({*function.active_namespaces, *function.spec.target_namespaces}),
        completed_sweep_count=function.sweep_count,
        last_sweep_time=None if swept_at_ms is None else stamp(swept_at_ms),
        state_counts=status.counts,
        pending_count=figures.pending_count,
        processing_count=figures.processing_count,
        failed_count=figures.failed_count,
        completed_per_minute=status.completed_per_minute,
        rate_window_s=RATE_WINDOW_S,
        consecutive_failure_count=function.sweep_failures,
    )


def stamp(epoch_ms: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMilliseconds(epoch_ms)
    return moment
