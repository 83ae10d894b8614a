"""Results on their way to their rows: what is written of them, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import structlog

from layer_kit.errors import LayerError
from layer_runtime.domain.functions import CANDIDATE_SUFFIX, FunctionId
from layer_runtime.domain.items import (
    MESSAGE_LENGTH_MAX,
    Held,
    ItemKey,
    Result,
    Row,
    Scalar,
    Value,
    Verdict,
)
from layer_runtime.domain.markers import STAMP, Condition, candidate_output, is_one_of, markers_of
from layer_runtime.ports.functions import Function

log = structlog.get_logger(__name__)

STALE_TYPE: Final = "uint"
STALE_SUFFIX: Final = "_stale_after"
VECTOR_NAMES: Final = ("vector", "vectors")


@dataclass(slots=True)
class Work:
    """A result on its way."""

    held: Held
    result: Result

    @property
    def key(self) -> ItemKey:
        return self.held.key


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of results."""

    done: list[Held] = field(default_factory=list)
    gone: list[Held] = field(default_factory=list)
    """There was no row to write them to."""
    changed: list[Held] = field(default_factory=list)
    """Their inputs are others by now."""
    refused: list[Verdict] = field(default_factory=list)

    def found_written(self, held: Held) -> None:
        """Note a result that its row has already, by a write whose answer was lost.

        What is written may well be an input. If a write was told of since the claim, it may be the
        result of inputs from before.
        """
        (self.changed if held.was_written else self.done).append(held)

    def refuse(self, held: Held, error: LayerError) -> None:
        """Note a result that the store does not take for what it says."""
        log.warning("result_refused", reason=error.reason, cause=error.message)
        message = error.message[:MESSAGE_LENGTH_MAX]
        self.refused.append(Verdict(held.key, held.lease, held.attempts + 1, None, message))


def outputs_of(function: Function, result: Result) -> Mapping[str, Value]:
    """Return the attributes to write; a candidate's stand under names of their own."""
    if function.candidate_of is None:
        return result.attributes
    base = FunctionId(function.id.removesuffix(CANDIDATE_SUFFIX))
    return {candidate_output(base, name): value for name, value in result.attributes.items()}


def vectors_of(result: Result) -> Mapping[str, Value]:
    """Return the vectors to write."""
    return {name: value for name in VECTOR_NAMES if (value := getattr(result, name))}


def marks_of(
    function: Function, held: Held, types: Mapping[str, str], now_ms: int
) -> dict[str, Scalar]:
    """Return what a row says once it has a result."""
    markers = markers_of(function.id)
    marks: dict[str, Scalar] = {markers.version: held.version}
    if markers.stale_after in types:
        marks[markers.stale_after] = None
    for other in function.spec.invalidates:
        marks[markers_of(FunctionId(other)).stale_after] = now_ms
    return marks


def schema_of(marks: Iterable[str], types: Mapping[str, str]) -> Mapping[str, str]:
    """Return the types of marks that a namespace does not have yet and would infer wrongly."""
    return {name: STALE_TYPE for name in marks if name.endswith(STALE_SUFFIX) and name not in types}


def is_written(function: Function, work: Work, row: Row) -> bool:
    """Tell whether a row has the result and its mark already."""
    wanted = {**outputs_of(function, work.result), **vectors_of(work.result)}
    is_marked = row.scalars.get(markers_of(function.id).version) == work.held.version
    return is_marked and wanted.items() <= row.attributes.items()


def unchanged(stamps: Mapping[str, int | None], types: Mapping[str, str]) -> Condition | None:
    """Return what rows fulfil that nobody has written since they had these stamps, by their ids."""
    if STAMP not in types:
        return None
    by_stamp: dict[int | None, list[str]] = {}
    for id_, stamp_ms in stamps.items():
        by_stamp.setdefault(stamp_ms, []).append(id_)
    if len(by_stamp) == 1:
        return [STAMP, "Eq", next(iter(by_stamp))]
    parts: list[object] = [
        ["And", [[STAMP, "Eq", stamp_ms], is_one_of("id", ids, types)]]
        for stamp_ms, ids in by_stamp.items()
    ]
    return ["Or", parts]
