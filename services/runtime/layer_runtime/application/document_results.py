"""Results of documents: each is written to every row of its document.

The rows are read again before each write. If they are what the result was made from, it is written
to all of them, each on the condition that nobody has written it since it was read. A write that
reaches only some is made up for by the next round; where its process dies instead, the item is
handed out again, for a document is due as long as one of its rows is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import InvalidRequestError
from layer_runtime.application.groups import Documents, read_documents
from layer_runtime.application.reading import latest_stamp, page_of, stamp_of
from layer_runtime.application.results import (
    Outcome,
    Work,
    is_written,
    marks_of,
    outputs_of,
    schema_of,
    unchanged,
)
from layer_runtime.application.retrying import with_retries
from layer_runtime.domain.items import Row, document_digest
from layer_runtime.domain.markers import STAMP, markers_of
from layer_runtime.ports.functions import Function
from layer_runtime.ports.rows import Rows, RowWrite

ROUNDS_MAX: Final = 5
DOCUMENTS_PER_READ: Final = 32
ROWS_PER_WRITE_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteToDocuments:
    """Writes results whose items are documents."""

    rows: Rows
    now_ms: EpochMilliseconds

    async def __call__(
        self, function: Function, namespace: str, works: Sequence[Work], outcome: Outcome
    ) -> None:
        """Write results until every one of them has an outcome; errors as for rows."""
        for at in range(0, len(works), DOCUMENTS_PER_READ):
            await self._write_all(function, namespace, works[at : at + DOCUMENTS_PER_READ], outcome)

    async def _write_all(
        self, function: Function, namespace: str, works: Sequence[Work], outcome: Outcome
    ) -> None:
        left = list(works)
        for _ in range(ROUNDS_MAX):
            documents = await self._documents(function, namespace, left)
            rest = []
            for work in left:
                rows = documents.rows.get(work.key.id, ())
                if self._is_settled(function, work, rows, outcome):
                    continue
                try:
                    written_count = await self._written(function, namespace, work, rows)
                except InvalidRequestError as error:
                    outcome.refuse(work.held, error)
                    continue
                if written_count == len(rows):
                    outcome.done.append(work.held)
                else:
                    rest.append(work)
            left = rest
            if not left:
                return
        outcome.changed += [work.held for work in left]  # written to all the time

    async def _documents(
        self, function: Function, namespace: str, works: Sequence[Work]
    ) -> Documents:
        types, marker = await self.rows.types(namespace), markers_of(function.id).version
        wanted = {name for work in works for name in outputs_of(function, work.result)}
        wanted |= set(function.spec.inputs)
        return await read_documents(
            self.rows,
            namespace,
            [work.key.id for work in works],
            names=sorted(wanted & (types.keys() | {"id"})),
            scalars=[name for name in (STAMP, marker) if name in types],
        )

    def _is_settled(
        self, function: Function, work: Work, rows: Sequence[Row], outcome: Outcome
    ) -> bool:
        """Tell whether there is nothing to write, and note why."""
        held = work.held
        if not rows:
            outcome.gone.append(held)
        elif latest_stamp(rows) != held.stamp_ms and all(
            is_written(function, work, row) for row in rows
        ):
            outcome.found_written(held)
        elif document_digest([page_of(function, row) for row in rows]) != held.digest:
            outcome.changed.append(held)
        else:
            return False
        return True

    async def _written(
        self, function: Function, namespace: str, work: Work, rows: Sequence[Row]
    ) -> int:
        """Write a result to all rows of its document; return how many of them took it."""
        count = 0
        for at in range(0, len(rows), ROWS_PER_WRITE_MAX):
            part = rows[at : at + ROWS_PER_WRITE_MAX]
            count += len(await self._write(function, namespace, work, part))
        return count

    async def _write(
        self, function: Function, namespace: str, work: Work, rows: Sequence[Row]
    ) -> set[str]:
        types: Mapping[str, str] = await self.rows.types(namespace)
        marks = marks_of(function, work.held, types, self.now_ms())
        attributes = outputs_of(function, work.result)
        stamps = {row.id: stamp_of(row) for row in rows}
        patches = [RowWrite(id=row.id, attributes=attributes, marks=marks) for row in rows]

        async def write() -> set[str]:
            return await self.rows.write(
                namespace,
                patches=patches,
                condition=unchanged(stamps, types),
                schema=schema_of(marks, types),
            )

        return await with_retries(write)
