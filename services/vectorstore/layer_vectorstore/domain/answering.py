"""Answers whole query requests from one view, so that all legs see the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layer_vectorstore.domain.aggregating import aggregate
from layer_vectorstore.domain.query import Fusion, Query, QueryRequest
from layer_vectorstore.domain.rendering import render
from layer_vectorstore.domain.selecting import NOTHING, Selected, filtered, select
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.vectors import shortest


@dataclass(frozen=True, slots=True)
class Answer:
    body: dict[str, Any]
    """``rows``, ``aggregations``, ``aggregation_groups`` or ``results``."""
    returned_bytes: int
    exhaustive_count: int
    """Rows that no index of vectors spared the queries, those of the widest one."""


def answer(request: QueryRequest, view: TableView) -> Answer:
    """Run every query of a request.

    Raises:
        RefusedError: When a query does not fit the schema.
    """
    if request.fusion is not None:
        return _fused(request, request.fusion, view)
    parts = [_answer_one(query, request, view) for query in request.queries]
    if not request.is_multiple:
        return parts[0]
    return Answer(
        {"results": [part.body for part in parts]},
        sum(part.returned_bytes for part in parts),
        max(part.exhaustive_count for part in parts),
    )


def _answer_one(query: Query, request: QueryRequest, view: TableView) -> Answer:
    if query.rank is None:
        return Answer(aggregate(query, view, filtered(query, view)), 0, view.rows_count)
    selected = select(query, view)
    rows, returned_bytes = render(query, selected, view, request.vector_encoding)
    return Answer({"rows": rows}, returned_bytes, selected.exhaustive_count)


def _fused(request: QueryRequest, fusion: Fusion, view: TableView) -> Answer:
    """Fuse the legs; each row is rendered as the first leg that found it asks."""
    legs = [select(query, view) for query in request.queries]
    scores: dict[int, float] = {}
    leg_of: dict[int, int] = {}
    for number, (leg, weight) in enumerate(zip(legs, fusion.weights, strict=True)):
        for rank, slot in enumerate(leg.slots.tolist(), start=1):
            scores[slot] = scores.get(slot, 0.0) + weight / (fusion.rank_constant + rank)
            leg_of.setdefault(slot, number)
    slots = np.array(list(scores), dtype=np.int64)
    exhaustive_count = max(leg.exhaustive_count for leg in legs)
    if not len(slots):
        # The legs are rendered all the same, so that a wrong attribute name is refused.
        for query in request.queries:
            render(query, NOTHING, view, request.vector_encoding)
        return Answer({"results": [{"rows": []}]}, 0, exhaustive_count)
    values = np.array(list(scores.values()), dtype=np.float32)
    order = np.lexsort((view.id_ranks(slots), -values))
    order = order[fusion.offset : fusion.offset + fusion.limit]
    numbers = shortest(values[order]).tolist()
    rows, returned_bytes = _rendered(request, slots[order].tolist(), numbers, leg_of, view)
    return Answer({"results": [{"rows": rows}]}, returned_bytes, exhaustive_count)


def _rendered(
    request: QueryRequest,
    slots: Sequence[int],
    scores: Sequence[float],
    leg_of: dict[int, int],
    view: TableView,
) -> tuple[list[dict[str, Any]], int]:
    rows: dict[int, dict[str, Any]] = {}
    total_bytes = 0
    for number, query in enumerate(request.queries):
        mine = [
            (slot, score)
            for slot, score in zip(slots, scores, strict=True)
            if leg_of[slot] == number
        ]
        selected = Selected(
            np.array([slot for slot, _ in mine], dtype=np.int64), [score for _, score in mine]
        )
        rendered, returned_bytes = render(query, selected, view, request.vector_encoding)
        rows.update(zip((slot for slot, _ in mine), rendered, strict=True))
        total_bytes += returned_bytes
    return [rows[slot] for slot in slots], total_bytes
