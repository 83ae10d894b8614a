"""Layer queries: nearest rows, by vector or by example, with temporal filters and cursors.

docs/reference/http.md, "Queries" has the rules. A query that only the store understands is not
seen here: the edge passes it on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
from msgspec import structs

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.cuts import Cut
from layer_gateway.application.examples import RankByExample
from layer_gateway.application.legs import Begun, Leg, LegAnswer, RunLegs
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace
from layer_wire.cursors import Cursor, encoded_cursor
from layer_wire.jsontext import Raw, RawObject
from layer_wire.queries import (
    UPSTREAM_ROWS_MAX,
    VECTOR_ATTRIBUTE,
    LayerQuery,
    rank_by_vector,
)
from layer_wire.ranking import id_order
from layer_wire.rows import RANK_KEY, row_id


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRows:
    """Answers Layer queries from the upstream store."""

    run_legs: RunLegs
    watermarks: Watermarks
    rank_by_example: RankByExample

    async def __call__(
        self,
        namespace: Namespace,
        query: LayerQuery,
        caller: Caller,
        *,
        slots: asyncio.Semaphore | None = None,
    ) -> QueryAnswer:
        """Run ``query`` and drop from its rows what earlier pages returned.

        Args:
            slots: Bounds the upstream requests of a larger whole.

        Raises:
            InvalidRequestError: ``CURSOR_UNUSABLE`` beside an order that no distance ranks,
                ``VECTORS_DIFFER`` when examples have different dimensions.
            NotFoundError: ``EXAMPLES_NOT_FOUND``, naming every id of ``nearest_to_id`` that
                has no row or no vector.
            UpstreamError: The store's own.
        """
        if query.cursor is not None and not query.is_nearest:
            raise InvalidRequestError(
                "CURSOR_UNUSABLE",
                "A cursor continues a query by distance; page an order by attribute by filter.",
                field="cursor",
            )
        cut = self.watermarks.cut(namespace)
        leg = leg_of(query, await self.rank_by_example(namespace, query, caller))
        while True:
            answer = await self.run_legs(namespace, leg, cut, caller, slots=slots)
            if query.cursor is None or _reaches(query, query.cursor, leg.row_count, answer):
                return page_of(query, answer, cut)
            leg = structs.replace(leg, row_count=min(UPSTREAM_ROWS_MAX, 2 * leg.row_count))

    async def go_on(
        self, namespace: Namespace, query: LayerQuery, cut: Cut, begun: Begun, caller: Caller
    ) -> QueryAnswer:
        """Run a query whose first request is answered already.

        Args:
            query: One that brings its own ranking, and no cursor.

        Raises:
            UpstreamError: The store's own.
        """
        leg = leg_of(query, own_rank_by(query))
        return page_of(query, await self.run_legs(namespace, leg, cut, caller, begun=begun), cut)


def leg_of(query: LayerQuery, rank_by: Raw) -> Leg:
    """Return what to ask the store for."""
    return Leg(
        rank_by=rank_by,
        row_count=_row_count(query),
        filter=query.filter,
        written=query.written,
        include_attributes=query.include_attributes,
        consistency=query.consistency,
    )


def own_rank_by(query: LayerQuery) -> Raw:
    """Return the ranking that a query brings itself."""
    if query.rank_by is not None:
        return query.rank_by
    if query.vector is None:
        raise AssertionError("the query is by example")
    return rank_by_vector(query.vector)


def page_of(query: LayerQuery, answer: LegAnswer, cut: Cut) -> QueryAnswer:
    """Return the rows that a query is answered with, out of those that were found."""
    if answer.refusal is not None:
        return QueryAnswer(refusal=answer.refusal)
    rows = answer.rows if query.cursor is None else _after(query.cursor, answer.rows)
    page = rows[: query.top_k]
    for row in page:
        row.pop(VECTOR_ATTRIBUTE, None)
    return QueryAnswer(
        rows=page,
        next_cursor=_next_cursor(query, page, len(answer.rows) - len(rows)),
        stable_as_of_ms=cut.stable_as_of_ms,
    )


def _row_count(query: LayerQuery) -> int:
    """Return how many rows to ask for, so that a page remains once earlier ones are dropped."""
    if query.cursor is None:
        return query.top_k
    if query.cursor.count is None:
        return UPSTREAM_ROWS_MAX
    return min(UPSTREAM_ROWS_MAX, query.cursor.count + query.top_k)


def _reaches(query: LayerQuery, cursor: Cursor, row_count: int, answer: LegAnswer) -> bool:
    """Tell whether the rows found have the whole page after ``cursor``, or all that there are.

    Others may have been written before it since, or come in by another filter.
    """
    is_all = len(answer.rows) < row_count or row_count >= UPSTREAM_ROWS_MAX
    return is_all or answer.refusal is not None or len(_after(cursor, answer.rows)) >= query.top_k


def _after(cursor: Cursor, rows: list[RawObject]) -> list[RawObject]:
    """Return the rows that follow ``cursor`` in order of distance, then id."""
    end = (cursor.distance, id_order(cursor.id))
    return [
        row for row in rows if (at := _distance(row)) is None or (at, id_order(row_id(row))) > end
    ]


def _next_cursor(query: LayerQuery, page: list[RawObject], passed_count: int) -> str | None:
    """Return the cursor that follows a page, before which the store has ``passed_count`` rows."""
    if len(page) < query.top_k:
        return None
    last = page[-1]
    if _distance(last) is None:
        return None
    earlier = 0 if query.cursor is None else query.cursor.count
    count = None if earlier is None else max(earlier, passed_count) + len(page)
    if not may_be_continued(query, count):
        return None
    return encoded_cursor(last[RANK_KEY], last["id"], count).decode()


def may_be_continued(query: LayerQuery, returned_count: int | None) -> bool:
    """Tell whether another page may follow a full one.

    Args:
        returned_count: Rows on all pages so far, or more; None where nobody knows.
    """
    return query.is_nearest and (returned_count is None or returned_count < UPSTREAM_ROWS_MAX)


def _distance(row: RawObject) -> float | None:
    found = row.get(RANK_KEY)
    return None if found is None else msgspec.json.decode(found, type=float)
