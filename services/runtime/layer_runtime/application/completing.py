"""Completions: results written to their rows together with the mark that they are done.

One write does both, so there is no moment at which a row has the one without the other. It is
bound to the stamp that the row had when its inputs were given out: a row that was written since
is looked at again. With other inputs it waits once more; with the same ones the result is still
right, and the write is tried again on the stamp that the row has now.

A process that dies between the write and the queue leaves an item whose lease runs out. The claim
that finds it sees the mark and takes it off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import InvalidRequestError, LayerError, NotFoundError
from layer_runtime.application.claiming import stamp_of
from layer_runtime.application.retrying import with_retries
from layer_runtime.domain.functions import CANDIDATE_SUFFIX, FunctionId, parse_function_id
from layer_runtime.domain.items import (
    Held,
    ItemKey,
    Result,
    Row,
    Scalar,
    Verdict,
    check_count,
    input_digest,
)
from layer_runtime.domain.markers import (
    STAMP,
    Condition,
    candidate_output,
    markers_of,
)
from layer_runtime.domain.names import parse_worker_id
from layer_runtime.ports.functions import Function, FunctionStore, ItemQueue, Rows, RowWrite

log = structlog.get_logger(__name__)

LEASE_S_MIN: Final = 60
"""What is being written is not given to another worker for this long."""

ROUNDS_MAX: Final = 5
ROWS_PER_WRITE_MAX: Final = 256
STALE_TYPE: Final = "uint"
STALE_SUFFIX: Final = "_stale_after"
VECTOR_NAMES: Final = ("vector", "vectors")
VECTOR_TYPES: Final = ("f32", "f16")
"""What the types of vectors end in."""


@dataclass(slots=True)
class _Work:
    """A result on its way."""

    held: Held
    result: Result
    stamp_ms: int | None
    row: Row | None = None
    """As it is now, where all of it is written again."""

    @property
    def key(self) -> ItemKey:
        return self.held.key


@dataclass(slots=True, kw_only=True)
class _Outcome:
    """What became of results."""

    done: list[Held]
    changed: list[Held]
    refused: list[Verdict]


@dataclass(frozen=True, slots=True)
class _Task:
    """Results of one function in one namespace that are written in the same way."""

    function: Function
    namespace: str
    is_whole: bool
    """Rows are written as a whole, since vectors cannot be patched."""
    outcome: _Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteItems:
    """Takes results in."""

    functions: FunctionStore
    items: ItemQueue
    rows: Rows
    now_ms: EpochMilliseconds

    async def __call__(self, function_id: str, worker_id: str, results: Sequence[Result]) -> int:
        """Write the results of those items that the worker holds; return how many were accepted.

        Raises:
            InvalidRequestError: ``TOO_MANY_ITEMS``, ``WORKER_ID_INVALID`` or ``OUTPUT_UNKNOWN``.
            NotFoundError: ``FUNCTION_NOT_FOUND``.
            UnavailableError: ``GATEWAY_DOWN``; send the same again while the lease lasts.
        """
        parse_worker_id(worker_id)
        check_count(results)
        function = await self.functions.get(parse_function_id(function_id))
        _check_outputs(function, results)
        by_key = {result.item.key: result for result in results}
        references = [result.item for result in by_key.values()]
        held = await self.items.held(
            function.number, worker_id, references, lease_s_min=LEASE_S_MIN
        )
        works = [_Work(item, by_key[item.key], item.stamp_ms) for item in held]
        accepted_count = 0
        for namespace, group in groupby(works, key=lambda work: work.key.namespace):
            accepted_count += await self._in_namespace(function, namespace, list(group))
        return accepted_count

    async def _in_namespace(
        self, function: Function, namespace: str, works: Sequence[_Work]
    ) -> int:
        outcome = _Outcome(done=[], changed=[], refused=[])
        try:
            types = await self.rows.types(namespace)
            for part, is_whole in _alike(works, types):
                task = _Task(function, namespace, is_whole, outcome)
                await self._write_all(task, part)
        except NotFoundError:  # the namespace went, and with it what there was to do
            outcome.done = [work.held for work in works]
            outcome.changed, outcome.refused = [], []
        finally:
            # Also when a later write fails: what is written is done.
            accepted_count = await self._settle(function, outcome)
        return accepted_count

    async def _settle(self, function: Function, outcome: _Outcome) -> int:
        accepted_count = 0
        if outcome.done:
            accepted_count += await self.items.finish(function.number, outcome.done)
        if outcome.changed:
            await self.items.requeue(function.number, outcome.changed)
            accepted_count += len(outcome.changed)
        if outcome.refused:
            await self.items.judge(function.number, outcome.refused)
        return accepted_count

    async def _write_all(self, task: _Task, works: Sequence[_Work]) -> None:
        """Write results until every one of them has an outcome."""
        outcome = task.outcome
        left = await self._looked_at(task, works) if task.is_whole else list(works)
        for _ in range(ROUNDS_MAX):
            if not left:
                return
            written = await self._written(task, left)
            outcome.done += [work.held for work in left if work.key.id in written]
            settled = written | {verdict.key.id for verdict in outcome.refused}
            rest = [work for work in left if work.key.id not in settled]
            left = await self._looked_at(task, rest)
        outcome.changed += [work.held for work in left]  # written to all the time

    async def _looked_at(self, task: _Task, works: Sequence[_Work]) -> list[_Work]:
        """Read rows again; return those whose inputs are still what was given out."""
        if not works:
            return []
        inputs, marker = task.function.spec.inputs, markers_of(task.function.id).version
        types = await self.rows.types(task.namespace)
        outputs = {name for work in works for name, _ in _outputs(task.function, work.result)}
        rows = await self.rows.lookup(
            task.namespace,
            [work.key.id for work in works],
            names=None if task.is_whole else sorted({*inputs, *outputs} & types.keys()),
            scalars=[name for name in (STAMP, marker) if name in types],
        )
        found = []
        for work in works:
            row = rows.get(work.key.id)
            if row is None:  # it was deleted: there is nothing to write, and nothing left to do
                task.outcome.done.append(work.held)
                continue
            stamp_ms = stamp_of(row)
            if stamp_ms != work.held.stamp_ms and self._is_written(task.function, work, row):
                # By us, who did not hear of it. What is written may well be an input.
                outcome = task.outcome
                (outcome.changed if work.held.was_written else outcome.done).append(work.held)
                continue
            if stamp_ms != work.held.stamp_ms and not _has_same_inputs(work.held, row, inputs):
                task.outcome.changed.append(work.held)
                continue
            found.append(_Work(work.held, work.result, stamp_ms, row if task.is_whole else None))
        return found

    async def _written(self, task: _Task, works: Sequence[_Work]) -> set[str]:
        """Write once; a write that is refused for what it says is halved until the culprit is."""
        types = await self.rows.types(task.namespace)
        rows = [self._row(task.function, work, types) for work in works]
        marks = {name for row in rows for name in row.marks}
        schema = {
            name: STALE_TYPE for name in marks if name.endswith(STALE_SUFFIX) and name not in types
        }

        async def write() -> set[str]:
            return await self.rows.write(
                task.namespace,
                patches=() if task.is_whole else rows,
                upserts=rows if task.is_whole else (),
                condition=_unchanged(works, types),
                schema=schema,
            )

        try:
            return await with_retries(write)
        except InvalidRequestError as error:
            if len(works) == 1:
                task.outcome.refused.append(_refused(works[0].held, error))
                return set()
            middle = len(works) // 2
            first = await self._written(task, works[:middle])
            return first | await self._written(task, works[middle:])

    def _is_written(self, function: Function, work: _Work, row: Row) -> bool:
        """Tell whether a row has the result and its mark already."""
        wanted = dict(_outputs(function, work.result))
        for name in VECTOR_NAMES:
            if value := getattr(work.result, name):
                wanted[name] = value
        is_marked = row.scalars.get(markers_of(function.id).version) == work.held.version
        return is_marked and wanted.items() <= row.attributes.items()

    def _row(self, function: Function, work: _Work, types: Mapping[str, str]) -> RowWrite:
        markers = markers_of(function.id)
        marks: dict[str, Scalar] = {markers.version: work.held.version}
        if markers.stale_after in types:
            marks[markers.stale_after] = None
        for other in function.spec.invalidates:
            marks[markers_of(FunctionId(other)).stale_after] = self.now_ms()
        attributes = dict(_outputs(function, work.result))
        if work.row is not None:
            values = {name: v for name, v in work.row.attributes.items() if name not in marks}
            attributes = values | attributes
            for name in VECTOR_NAMES:
                if value := getattr(work.result, name):
                    attributes[name] = value
        return RowWrite(id=work.key.id, attributes=attributes, marks=marks)


def _outputs(function: Function, result: Result) -> Iterable[tuple[str, bytes]]:
    """Return the attributes to write; a candidate's stand under names of their own."""
    if function.candidate_of is None:
        return result.attributes.items()
    base = FunctionId(function.id.removesuffix(CANDIDATE_SUFFIX))
    return [(candidate_output(base, name), value) for name, value in result.attributes.items()]


def _check_outputs(function: Function, results: Sequence[Result]) -> None:
    if function.candidate_of is None:
        return
    for result in results:
        unknown = result.attributes.keys() - set(function.outputs)
        if unknown or result.has_vector:
            name = min(unknown) if unknown else "vector"
            raise InvalidRequestError(
                "OUTPUT_UNKNOWN",
                f"{name} is not among the outputs that this candidate was registered with.",
                field="attributes",
            )


def _alike(works: Sequence[_Work], types: Mapping[str, str]) -> Iterable[tuple[list[_Work], bool]]:
    """Yield results that can be one write, and whether they write rows as a whole."""
    vectors = {name for name, type_ in types.items() if type_.endswith(VECTOR_TYPES)}

    def is_whole(work: _Work) -> bool:
        return work.result.has_vector or not vectors.isdisjoint(work.result.attributes)

    for kind in (True, False):
        part = [work for work in works if is_whole(work) is kind]
        for at in range(0, len(part), ROWS_PER_WRITE_MAX):
            yield part[at : at + ROWS_PER_WRITE_MAX], kind


def _unchanged(works: Sequence[_Work], types: Mapping[str, str]) -> Condition | None:
    """Return what rows fulfil that nobody has written since they were read."""
    if STAMP not in types:
        return None
    by_stamp: dict[int | None, list[object]] = {}
    is_number = types.get("id") in ("uint", "int")
    for work in works:
        id_: object = int(work.key.id) if is_number else work.key.id
        by_stamp.setdefault(work.stamp_ms, []).append(id_)
    if len(by_stamp) == 1:
        return [STAMP, "Eq", next(iter(by_stamp))]
    parts: list[object] = [
        ["And", [[STAMP, "Eq", stamp_ms], ["id", "In", ids]]] for stamp_ms, ids in by_stamp.items()
    ]
    return ["Or", parts]


def _has_same_inputs(held: Held, row: Row, inputs: Sequence[str]) -> bool:
    values = {name: row.attributes[name] for name in inputs if name in row.attributes}
    return input_digest(values) == held.digest


def _refused(held: Held, error: LayerError) -> Verdict:
    log.warning("result_refused", reason=error.reason, cause=error.message)
    return Verdict(held.key, held.lease, held.attempts + 1, None, error.message[:1024])
