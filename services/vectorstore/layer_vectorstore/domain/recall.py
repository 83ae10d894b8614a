"""Measures how many of the true nearest neighbours the search finds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, cast

import numpy as np

from layer_vectorstore.domain.errors import RefusedError, malformed
from layer_vectorstore.domain.filters import Filter, parse_filter
from layer_vectorstore.domain.json_fields import require_object
from layer_vectorstore.domain.limits import LIMIT_MAX, RECALL_QUERIES_COUNT_MAX
from layer_vectorstore.domain.query import Query
from layer_vectorstore.domain.ranking import ByVector, parse_rank
from layer_vectorstore.domain.rendering import render
from layer_vectorstore.domain.selecting import Selected, filtered, select
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.vector_columns import DenseColumn
from layer_vectorstore.domain.vectors import shortest

QUERIES_DEFAULT: Final = 25
TOP_K_DEFAULT: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallRequest:
    queries_count: int
    top_k: int
    filter: Filter | None
    rank: ByVector | None
    """The one query to measure; None draws stored vectors as queries."""
    includes_ground_truth: bool


def parse_recall_request(body: object) -> RecallRequest:
    """Read the body of a recall request.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: ``RECALL_INVALID``.
    """
    fields = require_object(body)
    rank = None
    if fields.get("rank_by") is not None:
        parsed = parse_rank(fields["rank_by"], "rank_by")
        if not isinstance(parsed, ByVector):
            raise RefusedError("RECALL_INVALID", "💔 recall can only be measured for ANN")
        rank = parsed
    counts = {}
    for name, default, most in (
        ("num", QUERIES_DEFAULT, RECALL_QUERIES_COUNT_MAX),
        ("top_k", TOP_K_DEFAULT, LIMIT_MAX),
    ):
        value = default if fields.get(name) is None else fields[name]
        if isinstance(value, bool) or not isinstance(value, int):
            raise malformed(name, "expected usize")
        if not 1 <= value <= most:
            raise RefusedError("RECALL_INVALID", f"💔 {name} must be between 1 and {most}")
        counts[name] = value
    filters = fields.get("filters")
    return RecallRequest(
        queries_count=counts["num"],
        top_k=counts["top_k"],
        filter=None if filters is None else parse_filter(filters, "filters"),
        rank=rank,
        includes_ground_truth=fields.get("include_ground_truth") is True,
    )


def measure_recall(
    request: RecallRequest, view: TableView, generator: np.random.Generator
) -> dict[str, Any]:
    """Return the averages over the measured queries, as the contract names them.

    Raises:
        RefusedError: ``RECALL_INVALID`` without vectors, or when the filter does not fit.
    """
    if not view.schema.vectors:
        raise RefusedError("RECALL_INVALID", "💔 recall needs a namespace with vectors")
    ranks = [request.rank] if request.rank else _drawn(request, view, generator)
    truths = []
    recalls, found_counts, true_counts = [], [], []
    for rank in ranks:
        query = Query(rank=rank, filter=request.filter, limit=request.top_k)
        found = select(query, view)
        truth = select(replace(query, rank=replace(rank, is_exact=True)), view)
        recalls.append(_share_found(truth, found))
        found_counts.append(len(found.slots))
        true_counts.append(len(truth.slots))
        if request.includes_ground_truth:
            rows, _ = render(query, truth, view, "float")
            truths.append({"query_vector": rank.vector, "nearest_neighbors": rows})
    result: dict[str, Any] = {
        "avg_recall": _mean(recalls, 1.0),
        "avg_exhaustive_count": _mean(true_counts, 0.0),
        "avg_ann_count": _mean(found_counts, 0.0),
    }
    return result | ({"ground_truth": truths} if request.includes_ground_truth else {})


def _share_found(truth: Selected, found: Selected) -> float:
    if not len(truth.slots):
        return 1.0
    return len(np.intersect1d(truth.slots, found.slots)) / len(truth.slots)


def _drawn(
    request: RecallRequest, view: TableView, generator: np.random.Generator
) -> list[ByVector]:
    """Draw stored vectors, among the rows that the filter keeps."""
    name = next(iter(view.schema.vectors))
    column = view.columns[name]
    slots = filtered(Query(filter=request.filter), view)
    count = min(request.queries_count, len(slots))
    if not count:
        return []
    drawn = generator.choice(slots, size=count, replace=False)
    if isinstance(column, DenseColumn):
        vectors = shortest(column.values(drawn)).tolist()
    else:
        vectors = [shortest(value).tolist() for value in cast("list[Any]", column.values(drawn))]
    return [ByVector(name, vector, is_exact=False) for vector in vectors]


def _mean(values: list[float] | list[int], empty: float) -> float:
    return float(np.mean(values)) if values else empty
