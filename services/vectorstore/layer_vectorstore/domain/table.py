"""The rows of a namespace in memory: append-only columns and which slots are alive.

Writing a row appends it and marks its earlier slot dead, so a reader that holds a
:class:`TableView` sees the same rows for as long as it likes while writes go on. Dead slots are
given back when the namespace is rebuilt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from layer_vectorstore.domain.attribute_types import AttributeType, Kind
from layer_vectorstore.domain.changes import ColumnValues, Delete, Patch, Put, Step
from layer_vectorstore.domain.columns import (
    ArrayColumn,
    Mask,
    Rows,
    ScalarColumn,
    Slots,
    new_id_column,
    new_scalar_column,
)
from layer_vectorstore.domain.growing import GrowingArray
from layer_vectorstore.domain.ids import DocumentId
from layer_vectorstore.domain.schema import ID, FullTextSearch, Schema
from layer_vectorstore.domain.sizes import ID_BYTES, memory_bytes, sizes_of
from layer_vectorstore.domain.text_index import TextIndex
from layer_vectorstore.domain.vector_columns import (
    DenseColumn,
    LateInteractionColumn,
    SparseColumn,
)
from layer_vectorstore.domain.vectors import Metric

Column = ScalarColumn | ArrayColumn | DenseColumn | LateInteractionColumn | SparseColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """A consistent state of a table that never changes."""

    schema: Schema
    metric: Metric | None
    live: Mask
    """Over all slots; its length is the row count that this view may look at."""
    columns: Mapping[str, Column]
    text_indexes: Mapping[str, TextIndex]
    sizes: NDArray[np.int64]
    """Logical bytes of each slot."""
    written_at_ms: int | None = None
    """When the last write that it includes was made; None before the first."""
    _cache: dict[str, Any] = field(default_factory=dict, init=False, compare=False)

    @property
    def live_slots(self) -> Slots:
        if "slots" not in self._cache:
            self._cache["slots"] = np.flatnonzero(self.live)
        slots: Slots = self._cache["slots"]
        return slots

    @property
    def rows_count(self) -> int:
        return len(self.live_slots)

    @property
    def logical_bytes(self) -> int:
        if "bytes" not in self._cache:
            self._cache["bytes"] = int(self.sizes[self.live_slots].sum())
        total: int = self._cache["bytes"]
        return total

    def ids(self, rows: Rows) -> list[DocumentId]:
        return list(self.id_column.values(rows)) if ID in self.columns else []

    def id_ranks(self, rows: Rows) -> NDArray[Any]:
        """Return numbers that sort as the ids do."""
        return self.id_column.ranks(rows) if ID in self.columns else np.empty(0, dtype=np.int64)

    @property
    def id_column(self) -> ScalarColumn:
        return cast("ScalarColumn", self.columns[ID])


class Table:
    """Owned by one writer, which applies changes and takes views."""

    def __init__(self, schema: Schema, metric: Metric | None) -> None:
        self.schema = schema
        self.metric = metric
        self._columns: dict[str, Column] = {}
        self._text_indexes: dict[str, TextIndex] = {}
        self._live: GrowingArray[np.bool_] = GrowingArray(np.bool_)
        self._sizes: GrowingArray[np.int64] = GrowingArray(np.int64)
        self._slot_of: dict[DocumentId, int] = {}
        self.logical_bytes = 0
        """Of the live rows, as billing counts."""
        self._held_bytes = 0
        """The same of all slots."""
        self.change_schema(schema, metric)

    @property
    def slots_count(self) -> int:
        return self._live.count

    @property
    def rows_count(self) -> int:
        return len(self._slot_of)

    @property
    def memory_bytes(self) -> int:
        """Estimate the memory it takes, dead slots and indexes included."""
        return self.index_bytes + memory_bytes(
            held_bytes=self._held_bytes,
            slots_count=self.slots_count,
            columns=list(self._columns.values()),
            text_indexes=list(self._text_indexes.values()),
        )

    @property
    def live_memory_bytes(self) -> int:
        """Estimate what it would take without dead slots and approximate indexes."""
        share = self.rows_count / max(self.slots_count, 1)
        return int((self.memory_bytes - self.index_bytes) * share)

    @property
    def index_bytes(self) -> int:
        """Of the approximate indexes."""
        return sum(
            column.index.size_bytes
            for column in list(self._columns.values())
            if isinstance(column, DenseColumn) and column.index is not None
        )

    def slots_of(self, ids: Sequence[DocumentId]) -> list[int | None]:
        """Return the live slot of each id, None where there is no such row."""
        return [self._slot_of.get(document_id) for document_id in ids]

    def view(self) -> TableView:
        """Return the present state; later changes do not show in it."""
        return TableView(
            schema=self.schema,
            metric=self.metric,
            live=self._live.view().copy(),
            columns=dict(self._columns),
            text_indexes=dict(self._text_indexes),
            sizes=self._sizes.view(),
        )

    def change_schema(self, schema: Schema, metric: Metric | None) -> None:
        """Add and remove columns and text indexes until they are those of ``schema``."""
        self.extend_schema(schema, metric)
        for name in set(self._columns) - set(schema.attributes):
            del self._columns[name]
            self._text_indexes.pop(name, None)

    def extend_schema(self, schema: Schema, metric: Metric | None) -> None:
        """Add what ``schema`` has, and keep the values of attributes that it drops.

        A later :meth:`change_schema` can go on from here or back to where the table was.
        """
        self.schema, self.metric = schema, metric
        for name, attribute in schema.attributes.items():
            if name not in self._columns:
                column = _new_column(name, attribute.type)
                column.extend_missing(self.slots_count)
                self._columns[name] = column
            self._change_text_index(name, attribute.full_text_search)

    def apply(self, step: Step, *, index_text: bool = True) -> None:
        """Carry out one step of a change.

        Args:
            step: Already checked against the schema.
            index_text: False leaves it to a later :meth:`index_text`, which is faster for many.
        """
        match step:
            case Delete():
                self._kill(step.ids)
            case Put():
                self._kill(step.ids)
                self._append(step.ids, step.columns)
            case Patch():
                self._append_patched(step)
        if index_text:
            self.index_text()

    def index_text(self) -> None:
        """Bring the text indexes up to the last slot."""
        for name, index in self._text_indexes.items():
            fresh = slice(index.slots_count, self.slots_count)
            if fresh.start == fresh.stop:
                continue
            values = self._columns[name].values(np.arange(fresh.start, fresh.stop))
            live = self._live.view()[fresh]
            # What was replaced before it was ever indexed need not be cut into words.
            wanted = zip(values, live.tolist(), strict=True)
            index.extend([value if alive else None for value, alive in wanted])

    def _change_text_index(self, name: str, options: FullTextSearch | None) -> None:
        present = self._text_indexes.get(name)
        if options is None:
            self._text_indexes.pop(name, None)
        elif present is None or present.options != options:
            self._text_indexes[name] = TextIndex(options)
            self.index_text()

    def _kill(self, ids: Sequence[DocumentId]) -> None:
        slots = [slot for i in ids if (slot := self._slot_of.pop(i, None)) is not None]
        self.logical_bytes -= int(self._sizes.view()[slots].sum()) if slots else 0
        # Views hold copies of this array, so it may be written in place.
        self._live.view()[slots] = False

    def _append(self, ids: Sequence[DocumentId], columns: Mapping[str, ColumnValues]) -> None:
        count = len(ids)
        first = self.slots_count
        sizes = np.full(count, ID_BYTES, dtype=np.int64)
        for name, column in self._columns.items():
            if name == ID:
                column.extend(ids)  # type: ignore[arg-type]
                continue
            values = columns.get(name)
            if values is None:
                column.extend_missing(count)
                continue
            column.extend(values)  # type: ignore[arg-type]
            sizes += sizes_of(values, self.schema.attributes[name].type)
        self._sizes.extend(sizes)
        self.logical_bytes += int(sizes.sum())
        self._held_bytes += int(sizes.sum())
        self._live.fill(value=True, count=count)
        self._slot_of.update(zip(ids, range(first, first + count), strict=True))

    def _append_patched(self, step: Patch) -> None:
        slots = np.array([self._slot_of[i] for i in step.ids], dtype=np.int64)
        columns: dict[str, ColumnValues] = {
            name: column.values(slots) for name, column in self._columns.items() if name != ID
        }
        self._kill(step.ids)
        self._append(step.ids, columns | dict(step.columns))


def _new_column(name: str, attribute_type: AttributeType) -> Column:
    if name == ID:
        return new_id_column(attribute_type)
    match attribute_type.kind:
        case Kind.SCALAR:
            return new_scalar_column(attribute_type.element)
        case Kind.ARRAY:
            return ArrayColumn(attribute_type.element)
        case Kind.DENSE:
            return DenseColumn(attribute_type.dimensions)
        case Kind.LATE_INTERACTION:
            return LateInteractionColumn(attribute_type.dimensions)
        case Kind.SPARSE:
            return SparseColumn()
