"""Functions: their names, and what one is told to do, to which rows, and when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.selectors import IndexSelector, Requirement

FunctionId = NewType("FunctionId", str)
"""An id that passed :func:`parse_function_id`."""

ID_LENGTH_MAX: Final = 92
"""With it the longest marker of a candidate has 128 bytes, which is what a name may have."""

CANDIDATE_SUFFIX: Final = "-candidate"
NAME_BYTES_MAX: Final = 128
DAY_S: Final = 86_400

_ID: Final = re.compile(r"[A-Za-z0-9\-_.]+")


class Trigger(StrEnum):
    """What makes a function look at rows."""

    DISCOVERY = "discovery"
    WRITE = "write"
    SCHEDULE = "schedule"


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
    cron: str = ""
    """When it fires; empty for never."""


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
    index_requirements: tuple[Requirement, ...] = ()
    inputs: tuple[str, ...] = ()
    version: str = "v1"
    filter: bytes = b""
    """Which rows it is about, as the gateway takes it; empty for all."""
    triggers: tuple[Trigger, ...] = (Trigger.DISCOVERY,)
    invalidates: tuple[str, ...] = ()
    worker: Worker = field(default_factory=Worker)
    schedule: Schedule = field(default_factory=Schedule)
    retry: Retry = field(default_factory=Retry)
    queries_per_item: int = 0
    """What an item costs the store, as its author says; 0 where that is not said."""
    is_grouped_by_parent: bool = False
    """An item is a document with all of its rows."""

    @property
    def index_selector(self) -> IndexSelector:
        return IndexSelector(labels=self.index_labels, requirements=self.index_requirements)


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
