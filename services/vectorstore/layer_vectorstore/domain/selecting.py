"""Finds the rows of a query, in order: filter, rank, limits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from layer_vectorstore.domain.attribute_types import AttributeType, Kind
from layer_vectorstore.domain.columns import ScalarColumn, Slots
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.predicates import bind, matching_slots
from layer_vectorstore.domain.query import LimitPer, Query
from layer_vectorstore.domain.ranking import ByAttributes, ByVector, Score
from layer_vectorstore.domain.scoring import bind_score
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.values import ValueMismatchError
from layer_vectorstore.domain.vector_columns import DenseColumn, LateInteractionColumn
from layer_vectorstore.domain.vectors import (
    Float32s,
    Metric,
    decode_matrix,
    decode_vector,
    shortest,
)


@dataclass(frozen=True, slots=True)
class Selected:
    """Slots in order, with what ``$dist`` shows for each; None when there is no such number."""

    slots: Slots
    scores: list[float] | None
    exhaustive_count: int = 0
    """Rows that were looked at one by one, without an index of vectors."""

    def part(self, start: int, end: int) -> Selected:
        scores = None if self.scores is None else self.scores[start:end]
        return Selected(self.slots[start:end], scores, self.exhaustive_count)


NOTHING: Final = Selected(np.empty(0, dtype=np.int64), None)


def select(query: Query, view: TableView) -> Selected:
    """Return the rows of a ranked query.

    Raises:
        RefusedError: When the query does not fit the schema.
    """
    assert query.rank is not None, "an aggregation selects no rows"
    assert query.limit is not None, "checked when the query was read"
    slots = filtered(query, view)
    end = query.offset + query.limit
    match query.rank:
        case ByVector():
            found = _by_vector(query.rank, view, slots, end)
        case ByAttributes():
            found = _by_attributes(query.rank, query.per, view, slots, end)
        case _:
            found = _by_score(query.rank, view, slots, end)
    return found.part(query.offset, end)


def filtered(query: Query, view: TableView) -> Slots:
    """Return the live slots that the query's filter keeps, ascending."""
    predicate = None if query.filter is None else bind(query.filter, view.schema)
    return matching_slots(predicate, view)


def vector_distances(rank: ByVector, view: TableView, slots: Slots) -> Float32s:
    """Return the exact distance of each slot; infinite where the vector is missing."""
    column, query, metric = _bind_vector(rank, view)
    if isinstance(column, DenseColumn):
        return column.nearest(query, metric, slots, len(slots), len(view.live))[1]
    result = np.full(len(slots), np.inf, dtype=np.float32)
    present = column.present(slots)
    result[present] = column.nearest(query, metric, slots)[1]
    return result


def _by_vector(rank: ByVector, view: TableView, slots: Slots, count: int) -> Selected:
    column, query, metric = _bind_vector(rank, view)
    if not isinstance(column, DenseColumn):
        return _best(view, *column.nearest(query, metric, slots), count, view.rows_count)
    if not rank.is_exact:
        found = column.nearest_by_index(query, metric, slots, count, view.live)
        if found is not None:
            return _best(view, found.slots, found.distances, count, found.unknown_count)
    nearest = column.nearest(query, metric, slots, count, len(view.live))
    return _best(view, *nearest, count, view.rows_count)


def _bind_vector(
    rank: ByVector, view: TableView
) -> tuple[DenseColumn | LateInteractionColumn, Float32s, Metric]:
    attribute = view.schema.attributes.get(rank.attribute)
    if attribute is None or not attribute.is_vector:
        raise _refused(
            f"💔 attribute '{rank.attribute}' is not a vector attribute of this namespace, "
            "so rows cannot be ranked by it"
        )
    column = cast("DenseColumn | LateInteractionColumn", view.columns[rank.attribute])
    return column, _query_vector(rank, attribute.type), view.metric or Metric.COSINE


def _query_vector(rank: ByVector, found: AttributeType) -> Float32s:
    try:
        if found.kind is Kind.LATE_INTERACTION:
            return decode_matrix(rank.vector, found.dimensions)
        vector = decode_vector(rank.vector)
    except ValueMismatchError as error:
        raise _refused(
            f"💔 invalid query vector for attribute '{rank.attribute}', expecting {found}"
        ) from error
    if len(vector) != found.dimensions:
        raise _refused(
            f"💔 vector dimension mismatch for attribute '{rank.attribute}': "
            f"expected {found.dimensions}, got {len(vector)}"
        )
    return vector


def _by_score(rank: Score, view: TableView, slots: Slots, count: int) -> Selected:
    scores = bind_score(rank, view.schema)(view)[slots]
    found = scores > 0
    # As they are shown: rows whose scores look the same are in the order of their ids.
    slots, scores = slots[found], scores[found].astype(np.float32)
    best = _best(view, slots, -scores, count, view.rows_count)
    assert best.scores is not None, "a score always has its number"
    return replace(best, scores=[-score for score in best.scores])


def _best(
    view: TableView, slots: Slots, keys: NDArray[Any], count: int, exhaustive_count: int
) -> Selected:
    """Return the ``count`` slots with the lowest keys, equal ones by id."""
    if len(slots) > count:
        bound = np.partition(keys, count - 1)[count - 1]
        kept = keys <= bound
        slots, keys = slots[kept], keys[kept]
    order = np.lexsort((view.id_ranks(slots), keys))[:count]
    numbers = shortest(keys[order].astype(np.float32)).tolist()
    return Selected(slots[order], numbers, exhaustive_count)


def _by_attributes(
    rank: ByAttributes, per: LimitPer | None, view: TableView, slots: Slots, count: int
) -> Selected:
    sort_keys: list[NDArray[Any]] = [view.id_ranks(slots)]
    for key in reversed(rank.keys):
        column = _sortable_column(key.attribute, view)
        ranks, present = column.ranks(slots), column.present(slots)
        if key.is_descending:
            ranks, present = _reversed(ranks), ~present
        # A missing value comes first in ascending order and last in descending order.
        sort_keys += [np.where(column.present(slots), ranks, ranks.dtype.type(0)), present]
    order = np.lexsort(sort_keys)
    ordered = slots[order]
    if per is not None:
        ordered = _at_most_per(per, view, ordered, count)
    return Selected(ordered[:count], None, view.rows_count)


def _reversed(ranks: NDArray[Any]) -> NDArray[Any]:
    """Return numbers that sort the other way round, without leaving the type's range."""
    return -ranks if ranks.dtype.kind == "f" else ~ranks


def _at_most_per(per: LimitPer, view: TableView, ordered: Slots, count: int) -> Slots:
    columns = [_sortable_column(name, view).values(ordered) for name in per.attributes]
    taken: Counter[tuple[Any, ...]] = Counter()
    kept: list[int] = []
    for index, key in enumerate(zip(*columns, strict=True)):
        if taken[key] < per.limit:
            taken[key] += 1
            kept.append(index)
            if len(kept) == count:
                break
    return ordered[kept]


def _sortable_column(name: str, view: TableView) -> ScalarColumn:
    attribute = view.schema.attributes.get(name)
    if attribute is None:
        raise _refused(f'💔 attribute "{name}" not found in schema, cannot be used in rank_by')
    if attribute.type.kind is not Kind.SCALAR:
        raise _refused(f"💔 attribute '{name}' is {attribute.type}, rows cannot be ordered by it")
    if not attribute.is_filterable:
        raise _refused(f"💔 attribute '{name}' is not filterable, rows cannot be ordered by it")
    return cast("ScalarColumn", view.columns[name])


def _refused(message: str) -> RefusedError:
    return RefusedError("RANK_INVALID", message)
