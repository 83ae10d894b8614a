"""Carries a prepared write out on a table, in the contract's order.

Rows deleted by filter go first, then rows are patched by filter, then upserts, patches and
deletes by id, each deciding about its conditions on the rows that the earlier phases left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layer_vectorstore.domain.changes import ColumnValues, Delete, Patch, Put, Step
from layer_vectorstore.domain.columns import Mask
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.ids import DocumentId
from layer_vectorstore.domain.predicates import Predicate, matching_slots
from layer_vectorstore.domain.preparing import PreparedRows, PreparedWrite
from layer_vectorstore.domain.table import Table
from layer_vectorstore.domain.write import WriteOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ByFilterLimits:
    """How many rows one write may touch by filter."""

    deleted_rows_max: int
    patched_rows_max: int


def carry_out(
    prepared: PreparedWrite, table: Table, limits: ByFilterLimits
) -> tuple[list[Step], WriteOutcome]:
    """Change ``table`` and return the steps that lead there, with what to tell the caller.

    Raises:
        RefusedError: ``TOO_MANY_ROWS``, before anything has changed.
    """
    before = table.schema, table.metric
    table.extend_schema(prepared.schema, prepared.metric)
    try:
        by_filter = _select_by_filter(prepared, table, limits)
    except RefusedError:
        table.change_schema(*before)
        raise
    table.change_schema(prepared.schema, prepared.metric)
    steps: list[Step] = []

    def take(step: Step) -> None:
        if step.ids:
            table.apply(step)
            steps.append(step)

    outcome = WriteOutcome(has_queried=_looks_at_rows(prepared))
    if prepared.request.delete_by_filter is not None:
        take(Delete(by_filter.deleted))
        outcome.deleted_ids = by_filter.deleted
        outcome.rows_remain = by_filter.deletes_remain
    if prepared.patch_by_filter is not None:
        take(_patch_all(by_filter.patched, prepared.patch_by_filter.columns))
        outcome.patched_ids = by_filter.patched
        outcome.rows_remain = outcome.rows_remain or by_filter.patches_remain
    for step in _steps_by_id(prepared, table, outcome):
        take(step)
    return steps, outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class _ByFilter:
    deleted: list[DocumentId]
    patched: list[DocumentId]
    deletes_remain: bool
    patches_remain: bool


def _select_by_filter(prepared: PreparedWrite, table: Table, limits: ByFilterLimits) -> _ByFilter:
    """Choose the rows of both phases before either changes anything.

    Patches see the rows as they were, less the deleted ones: deleting changes no other row.
    """
    request = prepared.request
    deleted, deletes_remain = _matching_ids(
        prepared.delete_by_filter,
        table,
        rows_max=limits.deleted_rows_max,
        may_be_partial=request.delete_by_filter_may_be_partial,
        without=frozenset(),
    )
    patch = prepared.patch_by_filter
    patched, patches_remain = _matching_ids(
        None if patch is None else patch.predicate,
        table,
        rows_max=limits.patched_rows_max,
        may_be_partial=request.patch_by_filter_may_be_partial,
        without=frozenset(deleted),
    )
    return _ByFilter(
        deleted=deleted,
        patched=patched,
        deletes_remain=deletes_remain,
        patches_remain=patches_remain,
    )


def _matching_ids(
    predicate: Predicate | None,
    table: Table,
    *,
    rows_max: int,
    may_be_partial: bool,
    without: frozenset[DocumentId],
) -> tuple[list[DocumentId], bool]:
    """Return the ids to change, and whether more rows match than may be changed."""
    if predicate is None:
        return [], False
    view = table.view()
    ids = [found for found in view.ids(matching_slots(predicate, view)) if found not in without]
    if len(ids) <= rows_max:
        return ids, False
    if not may_be_partial:
        raise RefusedError(
            "TOO_MANY_ROWS",
            f"💔 the filter matches {len(ids)} documents, but one request can change at most "
            f"{rows_max}; narrow the filter or allow a partial change",
        )
    return ids[:rows_max], True


def _steps_by_id(prepared: PreparedWrite, table: Table, outcome: WriteOutcome) -> list[Step]:
    """Decide about the rows named by id; the three kinds never share an id."""
    request = prepared.request
    steps: list[Step] = []
    if request.upserts is not None:
        outcome.upserted_ids = []
    if prepared.upserts is not None:
        kept = _kept(prepared.upserts, table, applies_without_row=True)
        ids, columns = _narrowed(prepared.upserts, kept)
        outcome.upserted_ids = ids
        steps.append(Put(ids, columns))
    if request.patches is not None:
        outcome.patched_ids = list(outcome.patched_ids or [])
    for patch in prepared.patches:
        ids, columns = _narrowed(patch, _kept(patch, table, applies_without_row=False))
        outcome.patched_ids = [*(outcome.patched_ids or []), *ids]
        steps.append(Patch(ids, columns))
    if request.deletes is not None:
        outcome.deleted_ids = list(outcome.deleted_ids or [])
    if prepared.deletes is not None:
        kept = _kept(prepared.deletes, table, applies_without_row=False)
        ids, _ = _narrowed(prepared.deletes, kept)
        outcome.deleted_ids = [*(outcome.deleted_ids or []), *ids]
        steps.append(Delete(ids))
    return steps


def _kept(rows: PreparedRows, table: Table, *, applies_without_row: bool) -> Mask:
    slots = table.slots_of(rows.ids)
    missing = np.array([slot is None for slot in slots], dtype=np.bool_)
    holds = ~missing if rows.condition is None else rows.condition.holds(table.view(), slots)
    return holds | missing if applies_without_row else holds


def _narrowed(
    rows: PreparedRows, kept: Mask
) -> tuple[list[DocumentId], Mapping[str, ColumnValues]]:
    if kept.all():
        return list(rows.ids), rows.columns
    positions = np.flatnonzero(kept).tolist()
    return [rows.ids[i] for i in positions], {
        name: values[kept] if isinstance(values, np.ndarray) else [values[i] for i in positions]
        for name, values in rows.columns.items()
    }


def _patch_all(ids: Sequence[DocumentId], columns: Mapping[str, ColumnValues]) -> Patch:
    return Patch(ids, {name: _repeated(values, len(ids)) for name, values in columns.items()})


def _repeated(values: ColumnValues, count: int) -> list[Any]:
    return [values[0]] * count


def _looks_at_rows(prepared: PreparedWrite) -> bool:
    request = prepared.request
    return any(
        node is not None
        for node in (
            request.delete_by_filter,
            request.patch_by_filter,
            request.upsert_condition,
            request.patch_condition,
            request.delete_condition,
        )
    )
