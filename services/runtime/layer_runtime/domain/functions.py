"""Functions: what one is told to do, to which rows, and the bounds of what it can be told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType

from layer_kit.errors import InvalidRequestError, LayerError
from layer_kit.names import parse_namespace
from layer_runtime.domain.names import has_control_characters

FunctionId = NewType("FunctionId", str)
"""An id that passed :func:`parse_function_id`."""

ID_LENGTH_MAX: Final = 92
"""With it the longest marker of a candidate has 128 bytes, which is what a name may have."""

CANDIDATE_SUFFIX: Final = "-candidate"
VERSION_LENGTH_MAX: Final = 64
NAME_BYTES_MAX: Final = 128
NAMESPACES_COUNT_MAX: Final = 512
INPUTS_COUNT_MAX: Final = 128
LABELS_COUNT_MAX: Final = 64
INVALIDATES_COUNT_MAX: Final = 64
FILTER_BYTES_MAX: Final = 256 * 1024
POD_SPEC_BYTES_MAX: Final = 256 * 1024
TEXT_LENGTH_MAX: Final = 2048
DAY_S: Final = 86_400

_ID: Final = re.compile(r"[A-Za-z0-9\-_.]+")
_URL: Final = re.compile(r"https?://[^\s\0-\x1f\x7f/?#]+[^\s\0-\x1f\x7f]*")


class Trigger(StrEnum):
    """What makes a function look at rows."""

    DISCOVERY = "discovery"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """How the workers of a function are run."""

    image: str = ""
    url: str = ""
    port: int = 0
    batch_size: int = 32
    timeout_s: int = 30
    pod_spec: bytes = b""
    """JSON that only the operator reads."""

    @property
    def is_pushed_to(self) -> bool:
        """Tell whether batches are sent to workers instead of being claimed by them."""
        return bool(self.url or self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When and how much a function works."""

    discovery_interval_s: int = 60
    lease_s: int = 120
    in_flight_batch_count_max: int = 8
    concurrent_scan_count_max: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How failed items are tried again."""

    attempt_count_max: int = 8
    backoff_initial_s: int = 5
    backoff_max_s: int = 300

    def backoff_s(self, attempt_count: int) -> int:
        """Return the pause after that many failed attempts, at least 1: doubled for each."""
        doublings = min(attempt_count - 1, DAY_S.bit_length())
        return min(self.backoff_initial_s << doublings, self.backoff_max_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSpec:
    """What a function does, to which rows, and when."""

    target_namespaces: tuple[str, ...] = ()
    index_labels: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    version: str = "v1"
    filter: bytes = b""
    """Which rows it is about, as the gateway takes it; empty for all."""
    triggers: tuple[Trigger, ...] = (Trigger.DISCOVERY,)
    invalidates: tuple[str, ...] = ()
    worker: Worker = field(default_factory=Worker)
    schedule: Schedule = field(default_factory=Schedule)
    retry: Retry = field(default_factory=Retry)


def parse_function_id(text: str) -> FunctionId:
    """Check the id of a function.

    Raises:
        InvalidRequestError: ``FUNCTION_ID_INVALID``.
    """
    if len(text) > ID_LENGTH_MAX or _ID.fullmatch(text) is None:
        raise InvalidRequestError(
            "FUNCTION_ID_INVALID",
            f"Function {text[:ID_LENGTH_MAX]!r} is not 1 to {ID_LENGTH_MAX} characters of "
            "[A-Za-z0-9-_.].",
            field="id",
        )
    return FunctionId(text)


def parse_new_function_id(text: str) -> FunctionId:
    """Check an id that a function is to be registered under; candidates have theirs.

    Raises:
        InvalidRequestError: ``FUNCTION_ID_INVALID``.
    """
    if text.endswith(CANDIDATE_SUFFIX):
        raise InvalidRequestError(
            "FUNCTION_ID_INVALID",
            f"Ids that end in {CANDIDATE_SUFFIX} are those of candidates.",
            field="id",
        )
    return parse_function_id(text)


def candidate_id(function_id: FunctionId) -> FunctionId:
    """Return the id under which the workers of a function's candidate claim."""
    return FunctionId(f"{function_id}{CANDIDATE_SUFFIX}")


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
    _check_range("index_selector", len(spec.index_labels), 0, LABELS_COUNT_MAX, "labels")
    _check_range("triggers", len(spec.triggers), 1, len(Trigger), "triggers")
    if Trigger.WRITE in spec.triggers and spec.index_labels and not spec.target_namespaces:
        # Nothing on the way of a write knows labels.
        raise _invalid("triggers", "write needs target_namespaces; index_selector is for sweeps")
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
    if retry.backoff_max_s < retry.backoff_initial_s:
        raise _invalid("retry.max_backoff_seconds", "is not below initial_backoff_seconds")


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
