"""Reads of rows: queries, explanations and the recall of the nearest-neighbour search."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from layer_kit.clock import EpochMilliseconds
from layer_vectorstore.application.freshness import Freshness
from layer_vectorstore.application.registry import Registry
from layer_vectorstore.domain.answering import Answer, answer
from layer_vectorstore.domain.explaining import explain
from layer_vectorstore.domain.exporting import Page, export
from layer_vectorstore.domain.query import Query, QueryRequest
from layer_vectorstore.domain.recall import RecallRequest, measure_recall
from layer_vectorstore.domain.table import TableView


@dataclass(frozen=True, slots=True)
class QueryResult:
    answer: Answer
    rows_count: int
    """Of the namespace."""
    logical_bytes: int
    written_at_ms: int | None
    """When the last write that the query could see was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryNamespace:
    registry: Registry
    freshness: Freshness
    now_ms: EpochMilliseconds
    random: Random

    def query(self, name: str, request: QueryRequest) -> QueryResult:
        """Answer all queries of a request from one state of the namespace.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            QuotaExceededError: ``UNINDEXED_TOO_MUCH``, for a strong read.
            RefusedError: When a query does not fit the schema.
        """
        view = self._view(name, is_eventual=request.is_eventual)
        return QueryResult(
            answer(request, view), view.rows_count, view.logical_bytes, view.written_at_ms
        )

    def export(self, name: str, page: Page) -> dict[str, Any]:
        """Return a page of all rows.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            RefusedError: When the page's cursor is not of this namespace.
        """
        return export(page, self._view(name, is_eventual=False))

    def explain(self, name: str, query: Query) -> str:
        """Return how a query is carried out, in words."""
        return explain(query, self.registry.get(name).latest)

    def recall(self, name: str, request: RecallRequest) -> dict[str, Any]:
        """Compare the search for nearest neighbours with an exhaustive one."""
        generator = np.random.default_rng(self.random.getrandbits(63))
        return measure_recall(request, self.registry.get(name).latest, generator)

    def _view(self, name: str, *, is_eventual: bool) -> TableView:
        namespace = self.registry.get(name)
        now_ms = self.now_ms()
        if is_eventual:
            return namespace.indexed(self.freshness.indexed_until_ms(now_ms))
        advice = "retry later or read with eventual consistency"
        self.freshness.refuse_when_behind(namespace, now_ms, advice=advice)
        return namespace.latest
