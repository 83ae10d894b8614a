"""The exchanges with the store that errands run: a request passed on, and a plain query."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import msgspec
from aiohttp import web

from layer_gateway.application.history import TOP_RESULTS_MAX, History
from layer_gateway.application.plain_queries import PlainPage, PlainQuery
from layer_gateway.application.reports import reports
from layer_gateway.domain.visits import Visit
from layer_gateway.http.answers import ErrandAnswer, PageAnswer, WholeAnswer
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.passthrough import streamed, whole
from layer_gateway.http.queries import plain_beginning, query_response
from layer_gateway.http.requests import with_trace
from layer_gateway.ports.stores import Receiver, StoreAnswer, StoreCall, StoreCalls, StreamedAnswer
from layer_kit.names import Namespace
from layer_wire.prepared import Prepared, QueryAtHand, QueryReader, are_numbers


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
    body_bytes_max: int
    """Of longer ones an errand has none."""
    latest: PlainQuery | None = None


class PassedOn(msgspec.Struct, eq=False):
    """Forwards a request and relays the answer."""

    _request: EdgeRequest
    _calls: QueryCalls
    _prepared: Prepared
    _body: memoryview | None
    _identifier: str = ""
    _answer: StreamedAnswer | None = None

    def begin(self, receiver: Receiver) -> None:
        assert self._body is not None
        self._calls.forward.begin((self._body,), receiver)

    def prepare(self, identifier: str) -> None:
        self._identifier = identifier

    def conclude(self, answer: StreamedAnswer) -> WholeAnswer | None:
        if not answer.is_complete:
            return None
        self._answer = answer
        response = whole(answer, self._request)
        response.request_id = self._identifier
        return response

    def go_on(self, answer: StreamedAnswer) -> Coroutine[Any, Any, web.StreamResponse]:
        return streamed(answer, self._request)

    def settle(self) -> None:
        answer, self._answer, self._body = self._answer, None, None
        if answer is not None and self._request.protocol.has_sent_all:
            answer.passed_on()

    @property
    def body_opening(self) -> bytes | None:
        return self._prepared.before if self._prepared.is_repeatable else None

    def takes(self, data: bytes, start: int) -> bool:
        if len(data) - start > self._calls.body_bytes_max:
            return False
        if self._prepared.numbers_in(data, start) is None:
            return False  # the store is not asked in vain: its answer may be without end
        self._body = memoryview(data)[start:]
        return True

    is_right = True


class PlainExchange(msgspec.Struct, eq=False):
    """Asks the store what a plain query wants, and answers with the rows as they come.

    Args:
        _session: What the request says of its session.
    """

    _history: History
    _calls: QueryCalls
    _plain: PlainQuery
    _session: Visit
    _numbers: memoryview | None
    _visit: Visit
    """From :meth:`prepare` on with a trace."""
    _identifier: str = ""
    _beginning: bytes = b""
    _page: PlainPage | None = None

    def begin(self, receiver: Receiver) -> None:
        plain, numbers = self._plain, self._numbers
        before, after = plain.before, plain.after
        body = (before,) if after is None or numbers is None else (before, numbers, after)
        self._calls.query.begin(body, receiver)

    def prepare(self, identifier: str) -> None:
        plain = self._plain
        self._identifier = identifier
        self._visit = visit = with_trace(self._session)
        self._beginning = plain_beginning(visit, plain.asked, plain.stable_as_of_ms, identifier)

    def conclude(self, answer: StoreAnswer) -> ErrandAnswer | None:
        page = self._plain.conclude(answer)
        if isinstance(page, PlainPage):
            self._page = page
            return PageAnswer(self._beginning, page.rows, page.next_cursor)
        if page is None:
            return None
        response = query_response(self._visit, self._plain.asked, page)
        response.request_id = self._identifier
        return response

    async def go_on(self, answer: StoreAnswer) -> web.StreamResponse:
        plain, numbers, visit = self._plain, self._numbers, self._visit
        found = await plain.go_on(answer, numbers)
        fields = QueryAtHand(plain.prepared, numbers).fields
        self._history.queried(self._calls.namespace, fields, visit, found, reports(found))
        return query_response(visit, plain.asked, found)

    def settle(self) -> None:
        page, self._page = self._page, None
        numbers, self._numbers = self._numbers, None
        if page is None:
            return
        plain = self._plain
        plain.settle()
        if self._history.recorder.is_recording:
            self._history.found(
                self._calls.namespace,
                QueryAtHand(plain.prepared, numbers).fields,
                self._visit,
                page.ids(TOP_RESULTS_MAX),
                stable_as_of_ms=plain.stable_as_of_ms,
            )

    @property
    def body_opening(self) -> bytes | None:
        prepared = self._plain.prepared
        return prepared.before if prepared.is_repeatable else None

    def takes(self, data: bytes, start: int) -> bool:
        plain = self._plain
        if len(data) - start > self._calls.body_bytes_max:
            return False
        numbers = plain.prepared.presumed_in(data, start)
        if numbers is None or not plain.is_current:
            return False
        self._numbers, self._page = numbers, None
        return True

    @property
    def is_right(self) -> bool:
        return self._numbers is None or are_numbers(self._numbers)
