"""Functions: messages to what they are told, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.filters import filter_json
from layer_runtime.application.function_registry import (
    PAUSE_REASON_DEFAULT,
    RATE_WINDOW_S,
    Status,
)
from layer_runtime.domain.functions import (
    CANDIDATE_SUFFIX,
    FunctionSpec,
    Retry,
    Schedule,
    Trigger,
    Worker,
)
from layer_runtime.domain.selectors import LabelOperator, Requirement
from layer_runtime.ports.functions import Function

TRIGGERS: Final[dict[runtime_pb2.FunctionTrigger.ValueType, Trigger]] = {
    runtime_pb2.FUNCTION_TRIGGER_DISCOVERY: Trigger.DISCOVERY,
    runtime_pb2.FUNCTION_TRIGGER_WRITE: Trigger.WRITE,
    runtime_pb2.FUNCTION_TRIGGER_SCHEDULE: Trigger.SCHEDULE,
}
OPERATORS: Final[dict[runtime_pb2.LabelOperator.ValueType, LabelOperator]] = {
    runtime_pb2.LABEL_OPERATOR_IN: LabelOperator.IN,
    runtime_pb2.LABEL_OPERATOR_NOT_IN: LabelOperator.NOT_IN,
    runtime_pb2.LABEL_OPERATOR_EXISTS: LabelOperator.EXISTS,
    runtime_pb2.LABEL_OPERATOR_DOES_NOT_EXIST: LabelOperator.DOES_NOT_EXIST,
}
_OPERATOR_VALUES: Final = {operator: value for value, operator in OPERATORS.items()}
_TRIGGER_VALUES: Final = {trigger: value for value, trigger in TRIGGERS.items()}


def parse_spec(message: runtime_pb2.FunctionSpec) -> FunctionSpec:
    """Return a specification with defaults where the message has 0 or nothing.

    Raises:
        InvalidRequestError: ``SPEC_INVALID`` or ``FILTER_INVALID``.
    """
    spec, schedule, retry = FunctionSpec(), message.schedule, message.retry
    return FunctionSpec(
        target_namespaces=tuple(message.target_namespaces),
        index_labels=dict(message.index_labels),
        index_requirements=tuple(_requirements(message.index_requirements)),
        inputs=tuple(message.inputs),
        version=message.version or spec.version,
        filter=parse_filter_bytes(message.filter) if message.HasField("filter") else b"",
        triggers=_triggers(message) or spec.triggers,
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
            cron=schedule.cron,
        ),
        retry=Retry(
            attempt_count_max=retry.attempt_count_max or spec.retry.attempt_count_max,
            backoff_initial_s=retry.backoff_initial_s or spec.retry.backoff_initial_s,
            backoff_max_s=retry.backoff_max_s
            or max(spec.retry.backoff_max_s, retry.backoff_initial_s),
        ),
        queries_per_item=message.queries_per_item,
        is_grouped_by_parent=message.is_grouped_by_parent,
    )


def _triggers(message: runtime_pb2.FunctionSpec) -> tuple[Trigger, ...]:
    """Return what makes it look at rows; whoever says when it fires means that it shall."""
    for trigger in message.triggers:
        if trigger not in TRIGGERS:
            raise _invalid("triggers", f"{trigger} is none")
    found = [TRIGGERS[trigger] for trigger in message.triggers]
    if message.schedule.cron:
        found.append(Trigger.SCHEDULE)
    return tuple(dict.fromkeys(found))


def _requirements(messages: Iterable[runtime_pb2.LabelRequirement]) -> Iterable[Requirement]:
    for at, message in enumerate(messages):
        if message.operator not in OPERATORS:
            raise _invalid(
                f"index_selector.matchExpressions[{at}].operator", f"{message.operator} is none"
            )
        yield Requirement(
            key=message.key,
            operator=OPERATORS[message.operator],
            values=tuple(message.values),
        )


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("SPEC_INVALID", f"spec.{where}: {rule}.", field=f"spec.{where}")


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


def spec_message(function: Function) -> runtime_pb2.FunctionSpec:
    spec = function.spec
    worker, schedule, retry = spec.worker, spec.schedule, spec.retry
    message = runtime_pb2.FunctionSpec(
        target_namespaces=spec.target_namespaces,
        index_labels=spec.index_labels,
        index_requirements=[
            runtime_pb2.LabelRequirement(
                key=one.key, operator=_OPERATOR_VALUES[one.operator], values=one.values
            )
            for one in spec.index_requirements
        ],
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
            cron=schedule.cron,
        ),
        retry=runtime_pb2.FunctionRetry(
            attempt_count_max=retry.attempt_count_max,
            backoff_initial_s=retry.backoff_initial_s,
            backoff_max_s=retry.backoff_max_s,
        ),
        queries_per_item=spec.queries_per_item,
        is_grouped_by_parent=spec.is_grouped_by_parent,
    )
    if function.candidate_of is not None:
        message.candidate.function_id = function.id.removesuffix(CANDIDATE_SUFFIX)
        message.candidate.outputs.extend(function.outputs)
    if spec.filter:
        message.filter.ParseFromString(spec.filter)
    return message


def function_message(function: Function) -> runtime_pb2.Function:
    return runtime_pb2.Function(
        function_id=function.id,
        spec=spec_message(function),
        is_paused=function.is_paused,
        create_time=stamp(function.created_at_ms),
        update_time=stamp(function.updated_at_ms),
    )


def status_message(status: Status) -> runtime_pb2.FunctionStatus:
    function, figures = status.function, status.figures
    swept_at_ms = function.swept_at_ms
    message = runtime_pb2.FunctionStatus(
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
    if function.is_paused:
        message.pause_reason = function.pause_reason or PAUSE_REASON_DEFAULT
    if function.spec.queries_per_item:
        message.query_budget.queries_per_item = function.spec.queries_per_item
        message.query_budget.pending_query_count = status.pending_query_count
        message.query_budget.queries_per_minute = (
            status.completed_per_minute * function.spec.queries_per_item
        )
    if function.fires_at_ms is not None:
        message.window.is_open = function.is_window_open
        message.window.next_firing_time.FromMilliseconds(function.fires_at_ms)
        if function.fired_at_ms is not None:
            message.window.last_firing_time.FromMilliseconds(function.fired_at_ms)
    return message


def stamp(epoch_ms: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMilliseconds(epoch_ms)
    return moment
