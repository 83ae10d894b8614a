"""Reads of rows: queries, explanations and the recall of the nearest-neighbour search."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from layer_kit.clock import EpochMilliseconds
from layer_vectorstore.application.registry import Registry
from layer_vectorstore.domain.answering import Answer, answer
from layer_vectorstore.domain.explaining import explain
from layer_vectorstore.domain.query import Query, QueryRequest
from layer_vectorstore.domain.recall import RecallRequest, measure_recall
from layer_vectorstore.domain.table import TableView


@dataclass(frozen=True, slots=True)
class QueryResult:
    answer: Answer
    rows_count: int
    """Of the namespace: as many as a search without an index looks at."""
    logical_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryNamespace:
    registry: Registry
    now_ms: EpochMilliseconds
    random: Random

    def query(self, name: str, request: QueryRequest) -> QueryResult:
        """Answer all queries of a request from one state of the namespace.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            RefusedError: When a query does not fit the schema.
        """
        view = self._view(name, is_eventual=request.is_eventual)
        return QueryResult(answer(request, view), view.rows_count, view.logical_bytes)

    def explain(self, name: str, query: Query) -> str:
        """Return how a query is carried out, in words."""
        return explain(query, self._view(name, is_eventual=False))

    def recall(self, name: str, request: RecallRequest) -> dict[str, Any]:
        """Compare the search for nearest neighbours with an exhaustive one."""
        view = self._view(name, is_eventual=False)
        generator = np.random.default_rng(self.random.getrandbits(63))
        return measure_recall(request, view, generator)

    def _view(self, name: str, *, is_eventual: bool) -> TableView:
        namespace = self.registry.get(name)
        return namespace.view(now_ms=self.now_ms(), is_eventual=is_eventual)
