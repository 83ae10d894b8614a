"""Auto: a search whose route layer chooses by the length of its text.

docs/reference/http.md, "Auto" has the policy.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from msgspec import structs

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.hybrid import SearchText
from layer_gateway.application.querying import QueryRows
from layer_gateway.domain.routing import Routing, choose_route
from layer_gateway.domain.tokens import tokens_of
from layer_gateway.ports.stores import Caller
from layer_gateway.ports.watching import SearchObserver
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace
from layer_wire.cursors import parse_cursor
from layer_wire.jsontext import Raw
from layer_wire.queries import LayerQuery
from layer_wire.searches import AutoSearch, SearchRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAuto:
    """Chooses the route of a search and takes it."""

    search_text: SearchText
    query_rows: QueryRows
    observer: SearchObserver

    async def __call__(
        self,
        namespace: Namespace,
        search: AutoSearch,
        caller: Caller,
        *,
        slots: asyncio.Semaphore | None = None,
    ) -> QueryAnswer:
        """Run ``search``, or defer it when its route needs a vector that is not there.

        Raises:
            InvalidRequestError: As :func:`routed` and the route's own use case have it.
        """
        routing = routed(search)
        is_executed = search.rank_by is not None or not routing.route.needs_vector
        self.observer.routed(namespace, routing.route, is_executed=is_executed)
        if routing.route is SearchRoute.HYBRID_TEXT:
            answer = await self.search_text(namespace, search.text_search, caller, slots=slots)
        elif search.rank_by is None:
            return QueryAnswer(routing=routing, is_deferred=True)
        elif routing.route is SearchRoute.SEMANTIC:
            query = nearest_query(search, search.rank_by)
            answer = await self.query_rows(namespace, query, caller, slots=slots)
        else:
            answer = await self.search_text(
                namespace, search.text_search, caller, semantic=search.rank_by, slots=slots
            )
        return structs.replace(answer, routing=routing)


def routed(search: AutoSearch) -> Routing:
    """Return the route of a search.

    Raises:
        InvalidRequestError: ``TEXT_WITHOUT_TOKENS``, or ``ROUTE_WITHOUT_VECTOR`` where the caller
            insists on a route that needs one.
    """
    tokens_count = len(tokens_of(search.text_search.text))
    if tokens_count == 0:
        raise InvalidRequestError(
            "TEXT_WITHOUT_TOKENS",
            "rank_by[2] has no word of 2 characters or more to route by.",
            field="rank_by",
        )
    if search.route is not None and search.route.needs_vector and search.rank_by is None:
        raise InvalidRequestError(
            "ROUTE_WITHOUT_VECTOR",
            f"Route {search.route} needs rank_by[3].vector.",
            field="rank_by[3].vector",
            route=search.route,
        )
    return choose_route(search.route, tokens_count)


def nearest_query(search: AutoSearch, rank_by: Raw) -> LayerQuery:
    """Return the query by distance that a semantic route means.

    Raises:
        InvalidRequestError: ``CURSOR_INVALID``.
    """
    scope = search.text_search.scope
    return LayerQuery(
        vector=None,
        nearest_to_id=None,
        rank_by=rank_by,
        top_k=scope.top_k,
        filter=scope.filter,
        written=scope.written,
        include_attributes=scope.include_attributes,
        drops_vector=scope.drops_vector,
        cursor=None if scope.cursor is None else parse_cursor(scope.cursor),
        consistency=scope.consistency,
    )
