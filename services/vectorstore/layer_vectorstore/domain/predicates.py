"""Filters bound to a schema and evaluated over rows, a whole column at a time.

Binding checks every part against the schema, so that a wrong filter is refused even when no row
would be looked at. The null rules are the contract's: a missing value sorts lowest, so ``Lt`` and
``Lte`` match it; negative operators are the plain inverse of their positive ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Final

import numpy as np

from layer_vectorstore.domain.columns import Mask, Rows, row_count
from layer_vectorstore.domain.filters import And, Condition, Filter, Not, Or
from layer_vectorstore.domain.operators import bind_condition
from layer_vectorstore.domain.schema import Schema
from layer_vectorstore.domain.table import TableView

Predicate = Callable[[TableView, Rows], Mask]
"""Returns a mask that lines up with the rows."""


def bind(node: Filter, schema: Schema) -> Predicate:
    """Check ``node`` against ``schema`` and make it ready to evaluate.

    Raises:
        RefusedError: ``FILTER_INVALID``, or what a pattern says is wrong with it.
    """
    match node:
        case And(children):
            return _all_of([bind(child, schema) for child in children])
        case Or(children):
            return _any_of([bind(child, schema) for child in children])
        case Not(child):
            return _inverse(bind(child, schema))
        case Condition():
            return bind_condition(node, schema)


def matching_slots(
    predicate: Predicate | None, view: TableView
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the live slots that a predicate keeps, ascending; all live ones without it."""
    if predicate is None:
        return view.live_slots
    kept = predicate(view, slice(0, len(view.live)))
    return np.flatnonzero(kept & view.live)


def _all_of(predicates: list[Predicate]) -> Predicate:
    def evaluate(view: TableView, rows: Rows) -> Mask:
        masks = (predicate(view, rows) for predicate in predicates)
        return reduce(np.logical_and, masks, np.ones(row_count(rows), dtype=np.bool_))

    return evaluate


def _any_of(predicates: list[Predicate]) -> Predicate:
    def evaluate(view: TableView, rows: Rows) -> Mask:
        masks = (predicate(view, rows) for predicate in predicates)
        return reduce(np.logical_or, masks, np.zeros(row_count(rows), dtype=np.bool_))

    return evaluate


def _inverse(predicate: Predicate) -> Predicate:
    return lambda view, rows: ~predicate(view, rows)


NOTHING: Final[Predicate] = _any_of([])
