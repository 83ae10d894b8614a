"""Results of rows: each is written to its row, if nobody has written that row since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import InvalidRequestError
from layer_runtime.application.reading import stamp_of
from layer_runtime.application.results import (
    Outcome,
    Work,
    is_written,
    marks_of,
    outputs_of,
    schema_of,
    unchanged,
    vectors_of,
)
from layer_runtime.application.retrying import with_retries
from layer_runtime.domain.items import Held, Row, input_digest
from layer_runtime.domain.markers import STAMP, markers_of
from layer_runtime.ports.functions import Function
from layer_runtime.ports.rows import Rows, RowWrite

ROUNDS_MAX: Final = 5
ROWS_PER_WRITE_MAX: Final = 256
VECTOR_TYPES: Final = ("f32", "f16")
"""What the types of vectors end in."""


@dataclass(slots=True)
class _RowWork(Work):
    """A result for one row."""

    stamp_ms: int | None
    row: Row | None = None
    """As it is now, where all of it is written again."""


@dataclass(frozen=True, slots=True)
class _Task:
    """Results of one function in one namespace that are written in the same way."""

    function: Function
    namespace: str
    is_whole: bool
    """Rows are written as a whole, since vectors cannot be patched."""
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteToRows:
    """Writes results whose items are rows."""

    rows: Rows
    now_ms: EpochMilliseconds

    async def __call__(
        self, function: Function, namespace: str, works: Sequence[Work], outcome: Outcome
    ) -> None:
        """Write results until every one of them has an outcome.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            UnavailableError: ``GATEWAY_DOWN``; what is in the outcome is done.
        """
        types = await self.rows.types(namespace)
        for part, is_whole in _alike(works, types):
            task = _Task(function, namespace, is_whole, outcome)
            left = [_RowWork(work.held, work.result, work.held.stamp_ms) for work in part]
            await self._write_all(task, left)

    async def _write_all(self, task: _Task, works: Sequence[_RowWork]) -> None:
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

    async def _looked_at(self, task: _Task, works: Sequence[_RowWork]) -> list[_RowWork]:
        """Read rows again; return those whose inputs are still what was given out."""
        if not works:
            return []
        inputs, marker = task.function.spec.inputs, markers_of(task.function.id).version
        types = await self.rows.types(task.namespace)
        outputs = {name for work in works for name in outputs_of(task.function, work.result)}
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
                task.outcome.gone.append(work.held)
                continue
            stamp_ms = stamp_of(row)
            if stamp_ms != work.held.stamp_ms and is_written(task.function, work, row):
                task.outcome.found_written(work.held)
                continue
            if stamp_ms != work.held.stamp_ms and not _has_same_inputs(work.held, row, inputs):
                task.outcome.changed.append(work.held)
                continue
            found.append(_RowWork(work.held, work.result, stamp_ms, row if task.is_whole else None))
        return found

    async def _written(self, task: _Task, works: Sequence[_RowWork]) -> set[str]:
        """Write once; a write that is refused for what it says is halved until the culprit is."""
        types = await self.rows.types(task.namespace)
        rows = [self._row(task.function, work, types) for work in works]
        schema = schema_of({name for row in rows for name in row.marks}, types)
        stamps = {work.key.id: work.stamp_ms for work in works}

        async def write() -> set[str]:
            return await self.rows.write(
                task.namespace,
                patches=() if task.is_whole else rows,
                upserts=rows if task.is_whole else (),
                condition=unchanged(stamps, types),
                schema=schema,
            )

        try:
            return await with_retries(write)
        except InvalidRequestError as error:
            if len(works) == 1:
                task.outcome.refuse(works[0].held, error)
                return set()
            middle = len(works) // 2
            first = await self._written(task, works[:middle])
            return first | await self._written(task, works[middle:])

    def _row(self, function: Function, work: _RowWork, types: Mapping[str, str]) -> RowWrite:
        marks = marks_of(function, work.held, types, self.now_ms())
        attributes = dict(outputs_of(function, work.result))
        if work.row is not None:
            values = {name: v for name, v in work.row.attributes.items() if name not in marks}
            attributes = {**values, **attributes, **vectors_of(work.result)}
        return RowWrite(id=work.key.id, attributes=attributes, marks=marks)


def _alike(works: Sequence[Work], types: Mapping[str, str]) -> Iterable[tuple[list[Work], bool]]:
    """Yield results that can be one write, and whether they write rows as a whole."""
    vectors = {name for name, type_ in types.items() if type_.endswith(VECTOR_TYPES)}

    def is_whole(work: Work) -> bool:
        return work.result.has_vector or not vectors.isdisjoint(work.result.attributes)

    for kind in (True, False):
        part = [work for work in works if is_whole(work) is kind]
        for at in range(0, len(part), ROWS_PER_WRITE_MAX):
            yield part[at : at + ROWS_PER_WRITE_MAX], kind


def _has_same_inputs(held: Held, row: Row, inputs: Sequence[str]) -> bool:
    values = {name: row.attributes[name] for name in inputs if name in row.attributes}
    return input_digest(values) == held.digest
