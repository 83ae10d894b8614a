"""Tells in words how a query is carried out."""

from __future__ import annotations

from layer_vectorstore.domain.query import Query
from layer_vectorstore.domain.ranking import ByAttributes, ByVector
from layer_vectorstore.domain.selecting import filtered, select
from layer_vectorstore.domain.table import Column, TableView
from layer_vectorstore.domain.vector_columns import DenseColumn


def explain(query: Query, view: TableView) -> str:
    """Return the plan of a query, one step a line, last step first.

    Raises:
        RefusedError: When the query does not fit the schema.
    """
    kept_count = len(filtered(query, view))
    scan = f"scan namespace: {view.rows_count} documents"
    keep = f"filter: {kept_count} documents match"
    lines = [scan] if query.filter is None else [keep, scan]
    if query.rank is None:
        return "\n".join(["aggregate", *lines])
    found_count = len(select(query, view).slots)
    match query.rank:
        case ByVector(attribute, is_exact=is_exact):
            ranking = f"rank by exact distance to `{attribute}`"
            if not is_exact and _is_indexed(view.columns[attribute]):
                ranking += ", of candidates from its approximate index where that is faster"
        case ByAttributes(keys):
            ranking = "order by " + ", ".join(f"`{key.attribute}`" for key in keys)
        case _:
            ranking = "rank by score"
    return "\n".join([f"limit: {found_count} documents", ranking, *lines])


def _is_indexed(column: Column) -> bool:
    return isinstance(column, DenseColumn) and column.index is not None and column.index.is_ready
