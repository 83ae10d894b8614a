"""The exchanges with the store that errands run: a request passed on, and a plain query."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.history import History
from layer_gateway.application.plain_queries import PlainQuery
from layer_gateway.application.reports import reports
from layer_gateway.domain.visits import Visit
from layer_gateway.http.answers import WholeAnswer
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.passthrough import streamed, whole
from layer_gateway.http.queries import plain_response, query_response
from layer_gateway.ports.stores import Receiver, StoreAnswer, StoreCall, StoreCalls, StreamedAnswer
from layer_kit.names import Namespace
from layer_wire.prepared import QueryAtHand


class QueryCalls(NamedTuple):
    """What the queries with one head have in common."""

    store: StoreCalls
    """Whose calls they are: gateways in one process share the heads that they remember."""
    namespace: Namespace
    forward: StoreCall
    """The caller's request, passed on."""
    query: StoreCall
    """A query of layer's on the caller's behalf."""


class PassedOn:
    """Forwards a request and relays the answer."""

    __slots__ = ("_body", "_call", "_request")

    def __init__(self, request: EdgeRequest, call: StoreCall, body: Sequence[bytes]) -> None:
        self._request = request
        self._call = call
        self._body = body

    def begin(self, receiver: Receiver) -> None:
        self._call.begin(self._body, receiver)

    def conclude(self, answer: StreamedAnswer) -> WholeAnswer | None:
        return whole(answer, self._request) if answer.is_complete else None

    def go_on(self, answer: StreamedAnswer) -> Coroutine[Any, Any, web.StreamResponse]:
        return streamed(answer, self._request)


class PlainExchange:
    """Asks the store what a plain query wants, and answers with the rows as they come."""

    __slots__ = ("_calls", "_history", "_plain", "_query", "_visit")

    def __init__(
        self,
        history: History,
        calls: QueryCalls,
        query: QueryAtHand,
        plain: PlainQuery,
        visit: Visit,
    ) -> None:
        self._history = history
        self._calls = calls
        self._query = query
        self._plain = plain
        self._visit = visit

    def begin(self, receiver: Receiver) -> None:
        self._calls.query.begin(self._plain.body, receiver)

    def conclude(self, answer: StoreAnswer) -> WholeAnswer | None:
        page = self._plain.conclude(answer)
        if page is None:
            return None
        visit, asked = self._visit, self._plain.asked
        if isinstance(page, QueryAnswer):
            return query_response(visit, asked, page)
        if self._history.recorder.is_recording:
            self._history.found(
                self._calls.namespace,
                self._query.fields,
                visit,
                page.ids,
                stable_as_of_ms=page.stable_as_of_ms,
            )
        return plain_response(visit, asked, page)

    async def go_on(self, answer: StoreAnswer) -> web.StreamResponse:
        found = await self._plain.go_on(answer)
        namespace, visit = self._calls.namespace, self._visit
        self._history.queried(namespace, self._query.fields, visit, found, reports(found))
        return query_response(visit, self._plain.asked, found)
