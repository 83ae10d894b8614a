"""Counts and sums, over all matching rows or by group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    groups = _grouped(query.group_by, view, slots)
    page = range(groups.count)[query.offset : query.offset + limit]
    elements = [view.schema.attributes[key.attribute].type.element for key in query.group_by]
    parts = [groups.key_values(number, page) for number in range(len(query.group_by))]
    return {
        "aggregation_groups": [
            {
                key.label: shown(values[index], element)
                for key, element, values in zip(query.group_by, elements, parts, strict=True)
            }
            | _totals(query.aggregates, view, groups.slots(group))
            for index, group in enumerate(page)
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
            values = column.numbers(slots)[column.present(slots)].tolist()
            is_float = view.schema.attributes[attribute].type.element is Element.FLOAT
            return _float_sum(values) if is_float else sum(values)


def _float_sum(values: list[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.copysign(float(np.finfo(np.float64).max), sum(values))


@dataclass(frozen=True, slots=True)
class _KeyColumn:
    scalars: ScalarColumn
    rows: Slots
    """Where each member's part of its key is in ``scalars``."""


class _Groups:
    """Rows by key, in the order of the keys; one row may be a member of several groups."""

    def __init__(self, slots: Slots, keys: Sequence[_KeyColumn], groups: Slots) -> None:
        """Sort members into groups.

        Args:
            slots: Of each member, as ``groups`` and the rows of each key column.
            keys: One column per part of the key.
            groups: The number of each member's group, from 0 without gaps.
        """
        self._members = np.argsort(groups, kind="stable")
        self._starts = np.append(0, np.cumsum(np.bincount(groups)))
        self._slots = slots[self._members]
        self._keys = keys
        self.count = len(self._starts) - 1

    def slots(self, group: int) -> Slots:
        return self._slots[self._starts[group] : self._starts[group + 1]]

    def key_values(self, part: int, page: range) -> list[Any]:
        """Return one part of the keys of consecutive groups: the value of the first member."""
        key = self._keys[part]
        return key.scalars.values(key.rows[self._members[self._starts[page.start : page.stop]]])


def _grouped(group_by: Sequence[GroupKey], view: TableView, slots: Slots) -> _Groups:
    keys: list[_KeyColumn] = []
    groups = np.zeros(len(slots), dtype=np.int64)
    for key in group_by:
        column = _key_column(key, view)
        if isinstance(column, ArrayColumn):
            members, rows = column.distinct_items(slots)
            slots, groups = slots[members], groups[members]
            keys = [_KeyColumn(earlier.scalars, earlier.rows[members]) for earlier in keys]
            keys.append(_KeyColumn(column.items, rows))
        else:
            keys.append(_KeyColumn(column, slots))
        codes = _codes(keys[-1])
        combined = groups * (int(codes.max(initial=0)) + 1) + codes
        groups = np.unique(combined, return_inverse=True)[1].astype(np.int64)
    return _Groups(slots, keys, groups)


def _codes(key: _KeyColumn) -> Slots:
    """Return numbers that are equal and sort as the values do; 0 for a missing one."""
    present = key.scalars.present(key.rows)
    codes = np.zeros(len(key.rows), dtype=np.int64)
    ranks = key.scalars.ranks(key.rows)[present]
    codes[present] = np.unique(ranks, return_inverse=True)[1] + 1
    return codes


def _key_column(key: GroupKey, view: TableView) -> ScalarColumn | ArrayColumn:
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
    return cast("ScalarColumn | ArrayColumn", view.columns[key.attribute])


def _check_summable(name: str, view: TableView) -> None:
    attribute = view.schema.attributes.get(name)
    if attribute is None:
        raise _refused(f'💔 attribute "{name}" not found in schema, cannot be summed')
    if attribute.type.kind is not Kind.SCALAR or attribute.type.element not in SUMMABLE:
        raise _refused(f"💔 attribute '{name}' is {attribute.type}, only numbers can be summed")


def _refused(message: str) -> RefusedError:
    return RefusedError("AGGREGATE_INVALID", message)
