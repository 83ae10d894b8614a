"""Conditions of writes: a filter per written row, which may refer to what the row would hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from layer_vectorstore.domain.columns import Mask, Slots
from layer_vectorstore.domain.filters import And, Condition, Filter, NewValue, Not, Or
from layer_vectorstore.domain.ids import DocumentId
from layer_vectorstore.domain.predicates import Predicate, bind
from layer_vectorstore.domain.schema import ID, Schema
from layer_vectorstore.domain.table import TableView


@dataclass(frozen=True, slots=True)
class BoundCondition:
    """The rows of one write, in groups whose filters have the same operands."""

    groups: Sequence[tuple[Slots, Predicate]]
    """Positions of rows, with the filter that decides about them."""

    def holds(self, view: TableView, slots: Sequence[int | None]) -> Mask:
        """Return for each row whether the filter holds for the row stored now.

        Args:
            view: Of the rows before the write.
            slots: Where each written row is stored now; False comes back for None.
        """
        result = np.zeros(len(slots), dtype=np.bool_)
        stored = np.array([-1 if slot is None else slot for slot in slots], dtype=np.int64)
        for group, predicate in self.groups:
            positions = group[stored[group] >= 0]
            if len(positions):
                result[positions] = predicate(view, stored[positions])
        return result


def bind_write_condition(
    node: Filter, ids: Sequence[DocumentId], columns: Mapping[str, Sequence[Any]], schema: Schema
) -> BoundCondition:
    """Check a condition for every row of a write.

    Args:
        node: With :class:`NewValue` where it refers to the written row.
        ids: Of the rows.
        columns: Their JSON values; a name that is not there is null, as in every delete.
        schema: After the write.

    Raises:
        RefusedError: ``FILTER_INVALID``.
    """
    names = sorted({ref.attribute for ref in _references(node)})
    if not names:
        return BoundCondition([(np.arange(len(ids)), bind(node, schema))])
    sources = [ids if name == ID else columns.get(name, [None] * len(ids)) for name in names]
    positions_of: dict[bytes, list[int]] = {}
    values_of: dict[bytes, tuple[Any, ...]] = {}
    for position, values in enumerate(zip(*sources, strict=True)):
        # As JSON, because 1 and True are equal to Python.
        key = msgspec.json.encode(values)
        positions_of.setdefault(key, []).append(position)
        values_of[key] = values
    return BoundCondition(
        [
            (
                np.array(positions, dtype=np.int64),
                bind(_substituted(node, dict(zip(names, values_of[key], strict=True))), schema),
            )
            for key, positions in positions_of.items()
        ]
    )


def _references(node: Filter) -> list[NewValue]:
    match node:
        case And(children) | Or(children):
            return [reference for child in children for reference in _references(child)]
        case Not(child):
            return _references(child)
        case Condition(operand=NewValue() as reference):
            return [reference]
        case _:
            return []


def _substituted(node: Filter, values: Mapping[str, Any]) -> Filter:
    match node:
        case And(children):
            return And(tuple(_substituted(child, values) for child in children))
        case Or(children):
            return Or(tuple(_substituted(child, values) for child in children))
        case Not(child):
            return Not(_substituted(child, values))
        case Condition(operand=NewValue(attribute)):
            return replace(node, operand=values[attribute])
        case _:
            return node
