"""The exchanges with the store that errands run: a request passed on, and a plain query."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
from aiohttp import web

from layer_gateway.application.history import History
from layer_gateway.application.plain_queries import PlainPage, PlainQuery
from layer_gateway.application.reports import reports
from layer_gateway.domain.visits import Visit
from layer_gateway.http.answers import QuickAnswer, WholeAnswer
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.passthrough import streamed, whole
from layer_gateway.http.queries import plain_beginning, plain_response, query_response
from layer_gateway.http.requests import with_trace
from layer_gateway.ports.stores import Receiver, StoreAnswer, StoreCall, StoreCalls, StreamedAnswer
from layer_kit.names import Namespace
from layer_wire.jsontext import Piece
from layer_wire.prepared import QueryAtHand, QueryReader


class QueryCalls(msgspec.Struct, eq=False):
    """What the queries with one head have in common.

    Attributes:
        latest: How the latest plain query was asked: most are asked like the one before.
    """

    store: StoreCalls
    """Whose calls they are: gateways in one process share the heads that they remember."""
    namespace: Namespace
    forward: StoreCall
    """The caller's request, passed on."""
    query: StoreCall
    """A query of layer's on the caller's behalf."""
    reader: QueryReader
    latest: PlainQuery | None = None


class PassedOn(msgspec.Struct, eq=False):
    """Forwards a request and relays the answer."""

    _request: EdgeRequest
    _call: StoreCall
    _body: Sequence[Piece]

    def begin(self, receiver: Receiver) -> None:
        self._call.begin(self._body, receiver)

    def conclude(self, answer: StreamedAnswer) -> WholeAnswer | None:
        return whole(answer, self._request) if answer.is_complete else None

    def go_on(self, answer: StreamedAnswer) -> Coroutine[Any, Any, web.StreamResponse]:
        return streamed(answer, self._request)

    def settle(self) -> None:
        pass


class PlainExchange(msgspec.Struct, eq=False):
    """Asks the store what a plain query wants, and answers with the rows as they come.

    Args:
        _visit: What the request says of its session; from :meth:`begin` on with a trace.
    """

    _history: History
    _calls: QueryCalls
    _query: QueryAtHand
    _plain: PlainQuery
    _visit: Visit
    _beginning: bytes = b""
    _page: PlainPage | None = None

    def begin(self, receiver: Receiver) -> None:
        plain = self._plain
        self._calls.query.begin(plain.body(self._query.numbers), receiver)
        self._visit = visit = with_trace(self._visit)
        self._beginning = plain_beginning(visit, plain.asked, plain.stable_as_of_ms)

    def conclude(self, answer: StoreAnswer) -> QuickAnswer | WholeAnswer | None:
        page = self._plain.conclude(answer)
        if isinstance(page, PlainPage):
            self._page = page
            return plain_response(self._beginning, page)
        return None if page is None else query_response(self._visit, self._plain.asked, page)

    async def go_on(self, answer: StoreAnswer) -> web.StreamResponse:
        plain, query, visit = self._plain, self._query, self._visit
        found = await plain.go_on(answer, query.numbers)
        self._history.queried(self._calls.namespace, query.fields, visit, found, reports(found))
        return query_response(visit, plain.asked, found)

    def settle(self) -> None:
        page, plain = self._page, self._plain
        if page is None:
            return
        plain.settle()
        if self._history.recorder.is_recording:
            self._history.found(
                self._calls.namespace,
                self._query.fields,
                self._visit,
                page.ids,
                stable_as_of_ms=plain.stable_as_of_ms,
            )
