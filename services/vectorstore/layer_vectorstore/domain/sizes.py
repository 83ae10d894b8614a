"""How many bytes rows have: as billing counts them, and as memory holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from layer_vectorstore.domain.attribute_types import AttributeType, Element, Kind
from layer_vectorstore.domain.changes import ColumnValues, Delete, Patch, Put, Step
from layer_vectorstore.domain.columns import ArrayColumn, TextColumn
from layer_vectorstore.domain.schema import Schema
from layer_vectorstore.domain.text_index import TextIndex
from layer_vectorstore.domain.values import size_bytes

ID_BYTES: Final = 8
NUMBER_BYTES: Final = {
    Element.INT: 8,
    Element.UINT: 8,
    Element.FLOAT: 8,
    Element.DATETIME: 8,
    Element.BOOL: 1,
}

ARRAY_GROWTH: Final = 1.25
"""Arrays have room for half as many rows again, a quarter on average."""

SLOT_BYTES: Final = 160
"""Of a row beside its values: the id with its slot, and what each column notes about it."""

TEXT_BYTES: Final = 160
"""Of a distinct text beside its characters."""

POSTING_BYTES: Final = 16
TERM_BYTES: Final = 500


def sizes_of(values: ColumnValues, attribute_type: AttributeType) -> NDArray[np.int64]:
    """Return the logical bytes of each value."""
    sizes: list[int]
    match attribute_type.kind:
        case Kind.DENSE:
            return np.full(len(values), attribute_type.dimensions * 4, dtype=np.int64)
        case Kind.LATE_INTERACTION:
            sizes = [0 if value is None else value.size * 4 for value in values]
        case Kind.SCALAR if attribute_type.element in NUMBER_BYTES:
            number_bytes = NUMBER_BYTES[attribute_type.element]
            sizes = [0 if value is None else number_bytes for value in values]
        case _:
            sizes = [size_bytes(value) for value in values]
    return np.array(sizes, dtype=np.int64)


def written_bytes(steps: Sequence[Step], schema: Schema) -> int:
    """Return the logical bytes that a write is billed as."""
    total = 0
    for step in steps:
        total += ID_BYTES * len(step.ids)
        if not isinstance(step, Delete):
            total += sum(
                int(sizes_of(values, schema.attributes[name].type).sum())
                for name, values in step.columns.items()
            )
    return total


def largest_row_bytes(step: Put | Patch, schema: Schema) -> int:
    """Return the logical bytes of the largest row of a step."""
    sizes = np.full(len(step.ids), ID_BYTES, dtype=np.int64)
    for name, values in step.columns.items():
        sizes += sizes_of(values, schema.attributes[name].type)
    return int(sizes.max(initial=0))


def memory_bytes(
    *,
    held_bytes: int,
    slots_count: int,
    columns: Sequence[object],
    text_indexes: Sequence[TextIndex],
) -> int:
    """Estimate the memory of a table without its approximate indexes.

    Args:
        held_bytes: Logical bytes of all slots, dead ones too.
        slots_count: How many those are.
        columns: Of any kind.
        text_indexes: All of them.
    """
    return (
        int(ARRAY_GROWTH * held_bytes)
        + SLOT_BYTES * slots_count
        + TEXT_BYTES * sum(map(_texts_count, columns))
        + POSTING_BYTES * sum(index.postings_count for index in text_indexes)
        + TERM_BYTES * sum(index.terms_count for index in text_indexes)
    )


def _texts_count(column: object) -> int:
    match column:
        case TextColumn():
            return column.texts_count
        case ArrayColumn():
            return _texts_count(column.items)
        case _:
            return 0
