"""Specifications of functions: the bounds of what one can be told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from layer_kit.errors import InvalidRequestError, LayerError
from layer_kit.names import parse_namespace
from layer_runtime.domain.functions import (
    DAY_S,
    NAME_BYTES_MAX,
    FunctionId,
    FunctionSpec,
    Trigger,
    Worker,
    parse_function_id,
)
from layer_runtime.domain.names import has_control_characters
from layer_runtime.domain.schedules import check_cron
from layer_runtime.domain.selectors import check_selector

VERSION_LENGTH_MAX: Final = 64
NAMESPACES_COUNT_MAX: Final = 512
INPUTS_COUNT_MAX: Final = 128
INVALIDATES_COUNT_MAX: Final = 64
FILTER_BYTES_MAX: Final = 256 * 1024
POD_SPEC_BYTES_MAX: Final = 256 * 1024
TEXT_LENGTH_MAX: Final = 2048
QUERIES_PER_ITEM_MAX: Final = 10_000

_URL: Final = re.compile(r"https?://[^\s\0-\x1f\x7f/?#]+[^\s\0-\x1f\x7f]*")


def check_spec(function_id: FunctionId, spec: FunctionSpec) -> None:
    """Check a specification.

    Raises:
        InvalidRequestError: ``SPEC_INVALID``, naming the field.
    """
    _check_namespaces(spec.target_namespaces)
    _check_names("inputs", spec.inputs)
    _check_range("version", len(spec.version), 1, VERSION_LENGTH_MAX, "characters")
    if has_control_characters(spec.version):
        raise _invalid("version", "has no control characters")
    _check_range("filter", len(spec.filter), 0, FILTER_BYTES_MAX, "bytes")
    check_selector(spec.index_selector, "spec.index_selector")
    _check_triggers(spec)
    _check_range("invalidates", len(spec.invalidates), 0, INVALIDATES_COUNT_MAX, "functions")
    for other in spec.invalidates:
        try:
            is_itself = parse_function_id(other) == function_id
        except LayerError as error:
            raise _invalid("invalidates", error.message) from error
        if is_itself:
            raise _invalid("invalidates", "a function does not invalidate itself")
    _check_worker(spec.worker)
    schedule, retry = spec.schedule, spec.retry
    for name, value, most in (
        ("schedule.discovery_interval_seconds", schedule.discovery_interval_s, 365 * DAY_S),
        ("schedule.lease_seconds", schedule.lease_s, DAY_S),
        ("schedule.max_in_flight_batches", schedule.in_flight_batch_count_max, 64),
        ("schedule.max_concurrent_scans", schedule.concurrent_scan_count_max, 64),
        ("retry.max_attempts", retry.attempt_count_max, 1000),
        ("retry.initial_backoff_seconds", retry.backoff_initial_s, DAY_S),
        ("retry.max_backoff_seconds", retry.backoff_max_s, DAY_S),
    ):
        _check_range(name, value, 1, most)
    _check_range("queries_per_item", spec.queries_per_item, 0, QUERIES_PER_ITEM_MAX)
    if retry.backoff_max_s < retry.backoff_initial_s:
        raise _invalid("retry.max_backoff_seconds", "is not below initial_backoff_seconds")


def _check_triggers(spec: FunctionSpec) -> None:
    triggers = spec.triggers
    _check_range("triggers", len(triggers), 1, len(Trigger), "triggers")
    if Trigger.WRITE in triggers and spec.index_selector and not spec.target_namespaces:
        # Nothing on the way of a write knows labels.
        raise _invalid("triggers", "write needs target_namespaces; index_selector is for sweeps")
    if Trigger.SCHEDULE in triggers and not spec.schedule.cron:
        raise _invalid("schedule.cron", "is needed by the trigger schedule")
    if spec.schedule.cron:
        check_cron(spec.schedule.cron, "spec.schedule.cron")


def _check_worker(worker: Worker) -> None:
    _check_range("worker.batch_size", worker.batch_size, 1, 1000)
    _check_range("worker.timeout_seconds", worker.timeout_s, 1, 3600)
    _check_range("worker.port", worker.port, 0, 65535)
    _check_range("worker.pod_spec", len(worker.pod_spec), 0, POD_SPEC_BYTES_MAX, "bytes")
    for name, text in (("image", worker.image), ("url", worker.url)):
        _check_range(f"worker.{name}", len(text), 0, TEXT_LENGTH_MAX, "characters")
    if worker.url and _URL.fullmatch(worker.url) is None:
        raise _invalid("worker.url", "is http:// or https:// and a host, without spaces")


def _check_namespaces(names: Sequence[str]) -> None:
    _check_range("target_namespaces", len(names), 0, NAMESPACES_COUNT_MAX, "names")
    for name in names:
        try:
            parse_namespace(name)
        except LayerError as error:
            raise _invalid("target_namespaces", error.message) from error


def _check_names(where: str, names: Iterable[str]) -> None:
    """Check names of attributes, of which each may be given once."""
    seen: set[str] = set()
    for name in names:
        if not 1 <= len(name.encode()) <= NAME_BYTES_MAX or name.startswith("$"):
            raise _invalid(where, f"{name[:NAME_BYTES_MAX]!r} is no name of an attribute")
        if name in seen:
            raise _invalid(where, f"names {name!r} twice")
        seen.add(name)
    _check_range(where, len(seen), 0, INPUTS_COUNT_MAX, "names")


def check_outputs(names: Sequence[str]) -> None:
    """Check the attributes that a candidate writes.

    Raises:
        InvalidRequestError: ``SPEC_INVALID``.
    """
    _check_names("outputs", names)
    if not names:
        raise _invalid("outputs", "names at least one attribute")
    for name in names:
        if name.startswith("_hevlayer_") or name in ("id", "vector", "vectors"):
            raise _invalid("outputs", f"{name!r} is not an attribute that a candidate can write")


def _check_range(where: str, value: int, least: int, most: int, what: str = "") -> None:
    if not least <= value <= most:
        raise _invalid(where, f"is {value}, not {least} to {most} {what}".rstrip())


def _invalid(where: str, rule: str) -> InvalidRequestError:
    sentence = f"spec.{where}: {rule.removesuffix('.')}."
    return InvalidRequestError("SPEC_INVALID", sentence, field=f"spec.{where}")
