"""Counts and sums, over all matching rows or by group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from layer_vectorstore.domain.attribute_types import Element, Kind
from layer_vectorstore.domain.columns import ArrayColumn, NumberColumn, ScalarColumn, Slots
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.limits import GROUPS_COUNT_MAX
from layer_vectorstore.domain.query import Aggregate, Count, GroupKey, Query, SumOf
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.values import shown

SUMMABLE = (Element.INT, Element.UINT, Element.FLOAT)


def aggregate(query: Query, view: TableView, slots: Slots) -> dict[str, Any]:
    """Return ``aggregations``, or ``aggregation_groups`` sorted by key.

    Raises:
        RefusedError: ``AGGREGATE_INVALID``.
    """
    for item in query.aggregates.values():
        if isinstance(item, SumOf):
            _check_summable(item.attribute, view)
    if not query.group_by:
        return {"aggregations": _totals(query.aggregates, view, slots)}
    limit = GROUPS_COUNT_MAX if query.limit is None else query.limit
    groups = _groups(query.group_by, view, slots)
    keys = sorted(groups, key=lambda key: tuple((part is not None, part) for part in key))
    page = keys[query.offset : query.offset + limit]
    labels = [key.label for key in query.group_by]
    elements = [view.schema.attributes[key.attribute].type.element for key in query.group_by]
    return {
        "aggregation_groups": [
            {
                label: shown(part, element)
                for label, part, element in zip(labels, key, elements, strict=True)
            }
            | _totals(query.aggregates, view, np.array(groups[key], dtype=np.int64))
            for key in page
        ]
    }


def _totals(aggregates: Mapping[str, Aggregate], view: TableView, slots: Slots) -> dict[str, Any]:
    return {label: _total(item, view, slots) for label, item in aggregates.items()}


def _total(item: Aggregate, view: TableView, slots: Slots) -> int | float:
    match item:
        case Count():
            return len(slots)
        case SumOf(attribute):
            column = cast("NumberColumn", view.columns[attribute])
            values = [value for value in column.values(slots) if value is not None]
            is_float = view.schema.attributes[attribute].type.element is Element.FLOAT
            return _float_sum(values) if is_float else sum(values)


def _float_sum(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.copysign(float(np.finfo(np.float64).max), sum(values))


def _groups(
    group_by: tuple[GroupKey, ...], view: TableView, slots: Slots
) -> dict[tuple[Any, ...], list[int]]:
    """Return the slots of each group by its key, one part per group key."""
    keyed: list[tuple[int, tuple[Any, ...]]] = [(slot, ()) for slot in slots.tolist()]
    for key in group_by:
        keyed = _extended(key, view, keyed)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for slot, parts in keyed:
        groups.setdefault(parts, []).append(slot)
    return groups


def _extended(
    key: GroupKey, view: TableView, keyed: list[tuple[int, tuple[Any, ...]]]
) -> list[tuple[int, tuple[Any, ...]]]:
    attribute = view.schema.attributes.get(key.attribute)
    if attribute is None:
        raise _refused(f'💔 attribute "{key.attribute}" not found in schema')
    if not attribute.is_filterable:
        raise _refused(f"💔 attribute '{key.attribute}' is not filterable, cannot be grouped by")
    if key.for_each_item != (attribute.type.kind is Kind.ARRAY):
        wanted = "an array" if key.for_each_item else "a scalar"
        raise _refused(
            f"💔 group_by needs {wanted} here, but '{key.attribute}' is {attribute.type}"
        )
    slots = np.array([slot for slot, _ in keyed], dtype=np.int64)
    column = view.columns[key.attribute]
    if isinstance(column, ArrayColumn):
        positions, items = column.pairs(slots)
        return [
            (keyed[position][0], (*keyed[position][1], item))
            for position, item in zip(positions.tolist(), items, strict=True)
        ]
    values = cast("ScalarColumn", column).values(slots)
    return [(slot, (*parts, value)) for (slot, parts), value in zip(keyed, values, strict=True)]


def _check_summable(name: str, view: TableView) -> None:
    attribute = view.schema.attributes.get(name)
    if attribute is None:
        raise _refused(f'💔 attribute "{name}" not found in schema, cannot be summed')
    if attribute.type.kind is not Kind.SCALAR or attribute.type.element not in SUMMABLE:
        raise _refused(f"💔 attribute '{name}' is {attribute.type}, only numbers can be summed")


def _refused(message: str) -> RefusedError:
    return RefusedError("AGGREGATE_INVALID", message)
