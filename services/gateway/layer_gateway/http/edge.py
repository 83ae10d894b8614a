"""The HTTP edge: one handler on aiohttp's low-level server, without its router.

Order, outermost first: public paths, who comes in, draining, limits, the route. Everything expected
that goes wrong is rendered here; what is not expected is logged and answered with a fixed text.
Requests that one exchange with the store serves go the short way, by ``http/errands.py``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Final

import structlog
from aiohttp import web

from layer_gateway.application.admission import Admission
from layer_gateway.application.limits import Pass
from layer_gateway.data_metrics import DataMetrics
from layer_gateway.domain.access import is_about_many, named_namespace
from layer_gateway.fetch_counts import FetchCounts
from layer_gateway.http.answers import (
    FIRST_ERROR_STATUS,
    ErrandAnswer,
    WholeAnswer,
    error_answer,
)
from layer_gateway.http.counting import Tally
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.errand_ports import QuickHandler
from layer_gateway.http.errands import Errand
from layer_gateway.http.head_errors import check_head
from layer_gateway.http.heads import Head
from layer_gateway.http.requests import Handler
from layer_gateway.http.routes import PUBLIC_OPERATIONS, Operation, Route
from layer_gateway.metrics import EdgeMetrics
from layer_gateway.query_counts import QueryCounts
from layer_kit.errors import DrainingError, InternalError, LayerError, SlowRequestError
from layer_kit.lost_errors import report_error
from layer_kit.rpc.context import incoming_trace, mint_request_id, request_id
from layer_kit.telemetry.traces import is_exporting, server_span

log = structlog.get_logger(__name__)

PUBLIC: Final = "public"
NO_SHAPE: Final = (False, False)
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Edge:
    """Takes requests to handlers and faults to answers.

    Args:
        quick: By the operations that may be served by errands.
        public_pages: What paths that are no operation answer.
    """

    def __init__(
        self,
        table: Mapping[Operation, Handler],
        quick: Mapping[Operation, QuickHandler],
        *,
        public_pages: Callable[[str], Awaitable[web.StreamResponse]],
        admission: Admission,
        metrics: EdgeMetrics,
        data: DataMetrics,
    ) -> None:
        self._table = table
        self._quick = quick
        self._public_page = public_pages
        self._admission = admission
        self.let_in = admission.let_in
        self._metrics = metrics
        self._data = data
        self._query_counts = QueryCounts(metrics, data)
        self._fetch_counts = FetchCounts(metrics, data)
        self._is_exporting = is_exporting()
        self._is_debugging = log.bind().is_enabled_for(logging.DEBUG)

    def __call__(self, request: EdgeRequest) -> Coroutine[None, None, web.StreamResponse]:
        """Serve one request."""
        found = request.head.route
        answered = self._answered(request, found)
        if request.head.is_traced or self._is_exporting:
            return self._traced(request, _operation(found), answered)
        return answered

    async def _traced(
        self,
        request: EdgeRequest,
        operation: str,
        answered: Coroutine[None, None, web.StreamResponse],
    ) -> web.StreamResponse:
        with server_span(f"http.{operation}", incoming_trace(request.field)) as span:
            response = await answered
            span.set_attribute("http.response.status_code", response.status)
        return response

    def may_begin(self, head: Head) -> bool:
        """Tell whether an errand may serve a request, as far as its head tells."""
        return head.is_plain_json and self._quick_of(head) is not None

    def _quick_of(self, head: Head) -> QuickHandler | None:
        """Return what makes an errand of a request, if anything does."""
        route = head.route
        if route is None or head.is_traced or self._is_exporting:
            return None
        return self._quick.get(route.operation)

    def begin(self, request: EdgeRequest) -> bool:
        """Begin to serve a request by an errand; False, changing nothing, where none can."""
        started_s = time.perf_counter()
        head = request.head
        route, quick = head.route, self._quick_of(head)
        if route is None or quick is None:
            return False
        admission = self._admission
        try:
            identity = admission.recognise(head.bearer, head.scope)
            if identity is None:
                return False
            exchange = quick(request, route)
            if exchange is None:
                return False
            admitted = admission.let_in(identity)
        except LayerError:
            return False  # the handler proper meets it again, and answers with it
        except Exception as error:  # noqa: BLE001 -- a fault of ours, which the handler may not have
            report_error("an errand could not be begun", error)
            return False
        request.received = None  # which the exchange has, for as long as it needs it
        body_opening = exchange.body_opening
        Errand(self, request, exchange, identity, admitted, started_s, body_opening).begin()
        return True

    def handled(self, request: EdgeRequest, route: Route) -> Awaitable[web.StreamResponse]:
        """Return what the handler proper answers to a request that was let in; errors as there."""
        return self._table[route.operation](request, route)

    def answered(
        self,
        request: EdgeRequest,
        response: ErrandAnswer,
        identifier: str,
        *,
        seconds: float,
        upstream_s: float,
    ) -> None:
        """Count a request that one exchange with the store has served."""
        route = request.head.route
        assert route is not None
        operation, namespace, status = route.operation, route.names["namespace"], response.status
        fetched = request.fetched
        if fetched is not None:
            self._fetch_counts.answered(operation, namespace, status, fetched, seconds=seconds)
        else:
            self._query_counts.answered(
                operation,
                namespace,
                status,
                request.shape or NO_SHAPE,
                seconds=seconds,
                upstream_s=upstream_s,
            )
        if self._is_debugging:
            _log_finished(route.operation, response.status, None, identifier, seconds)

    async def _answered(self, request: EdgeRequest, found: Route | None) -> web.StreamResponse:
        """Answer a request, whatever happens, and tell metrics and log of it."""
        head = request.head
        identifier = head.request_id or mint_request_id()
        request_id.set(identifier)
        tally = Tally(identifier, time.perf_counter())
        response: web.StreamResponse
        try:
            check_head(head)
            if found is None:
                response = await self._public_page(head.path_only)
            elif found.operation in PUBLIC_OPERATIONS:
                response = await self._table[found.operation](request, found)
            else:
                known = self._admission.enter_known(head.bearer, head.scope)
                admitted = known or await self._enter(request)
                try:
                    if "expect" in head.fields:
                        _continue(request)
                    tally.admitted()
                    response = await self.handled(request, found)
                    tally.answered(is_ok=response.status < FIRST_ERROR_STATUS)
                finally:
                    admitted.give_back()
        except (ConnectionError, asyncio.CancelledError):
            raise  # the caller is gone, or we are going
        except Exception as error:  # noqa: BLE001 -- whatever it is, this request alone fails
            if isinstance(error, LayerError):
                tally.failed(error)
            response = self.refusal(error, found, identifier)
        if isinstance(response, WholeAnswer):  # the head of any other is out
            response.request_id = identifier
        self.served(request, response, tally)
        return response

    def refusal(self, error: Exception, route: Route | None, identifier: str) -> WholeAnswer:
        """Return the answer to a request that failed; logs what nobody expected."""
        if isinstance(error, LayerError):
            return _refusal(error)
        operation = _operation(route)
        log.error("request_crashed", exc_info=error, operation=operation, request_id=identifier)
        return error_answer(
            InternalError("INTERNAL", "Internal error. Quote the request id when reporting it.")
        )

    def served(self, request: EdgeRequest, response: web.StreamResponse, tally: Tally) -> None:
        """Count a request that was answered."""
        route = request.head.route
        operation = _operation(route)
        seconds = time.perf_counter() - tally.started_s
        self._metrics.finished(operation, response.status, seconds)
        if route is not None:
            tally.count(self._data, request, route, seconds=seconds)
        if self._is_debugging:
            _log_finished(operation, response.status, tally.reason, tally.identifier, seconds)

    async def _enter(self, request: EdgeRequest) -> Pass:
        """Let in a caller whose key is not in the manifest."""
        head = request.head
        admitted, request.confined_to = await self._admission.enter(
            head.bearer,
            head.scope,
            named_namespace(head.path_only),
            is_about_many=is_about_many(head.method, head.path_only),
        )
        return admitted


def _operation(route: Route | None) -> str:
    """Name what a request asks for, as metrics and traces know it."""
    return PUBLIC if route is None else route.operation


def _refusal(error: LayerError) -> WholeAnswer:
    response = error_answer(error)
    if isinstance(error, DrainingError | SlowRequestError):
        response.force_close()
    return response


def _continue(request: EdgeRequest) -> None:
    """Let a caller who asked first send its body; without a router nobody else does."""
    if (request.field("expect") or "").lower() == "100-continue":
        transport = request.protocol.transport
        if transport is not None:
            transport.write(CONTINUE)


def _log_finished(
    operation: str,
    status: int,
    reason: str | None,
    identifier: str,
    seconds: float,
) -> None:
    log.debug(
        "request_finished",
        operation=operation,
        status=status,
        reason=reason,
        request_id=identifier,
        total_ms=round(seconds * 1000, 3),
    )
