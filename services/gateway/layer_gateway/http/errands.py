"""Errands: requests that one exchange with the store serves, without a task of their own.

Most requests are queries, and most queries are one request to the store and its answer. A task for
each, the futures it waits for and the coroutines in between would cost more than all that is done
with them. So such a request is served in two turns: in the one its bytes come in it is asked of the
store, in the one the answer comes in it is answered. What turns out to need more goes on in a task
from there (docs/decisions/0035-errands.md).

And most queries are like the one before on their connection, but for their vector: the same errand
serves them in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Generic

import msgspec
from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD

from layer_gateway.application.inbound import Identity
from layer_gateway.application.limits import Pass
from layer_gateway.http.answers import FIRST_ERROR_STATUS, WholeAnswer
from layer_gateway.http.counting import Tally
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.errand_ports import Accounts, Answer, Exchange
from layer_gateway.http.routes import Route
from layer_gateway.upstream_time import upstream_time
from layer_kit.errors import LayerError
from layer_kit.lost_errors import report_error
from layer_kit.rpc.context import mint_request_id, request_id
from layer_upstream import HeadTemplate


class Errand(msgspec.Struct, Generic[Answer], eq=False):
    """One such request, from the moment it was let in; and after it others that are like it.

    Args:
        _identity: Who sends them.
        _admitted: Given back when the request is answered.
        _started_s: When it came, by ``time.perf_counter``.
        body_opening: How bodies of others begin that the exchange may be right for; None for none.

    Attributes:
        opening: How those requests begin, where they come on the same connection.
    """

    _accounts: Accounts
    _request: EdgeRequest
    _exchange: Exchange[Answer]
    _identity: Identity
    _admitted: Pass
    _started_s: float
    body_opening: bytes | None
    opening: HeadTemplate | None = None
    _asked_s: float = 0.0
    _identifier: str = ""
    _is_over: bool = False
    """Whether what the store was asked is of no use any more; its answer may still come."""
    _in_vain: asyncio.Future[None] | None = None
    """Done when it has come to what was asked for nothing."""

    def takes(self, data: bytes) -> int | None:
        """Take another request of the same head on the connection, which is to be begun then.

        None, changing nothing, where another errand, or none, is right for it.

        Returns:
            Where its body begins.
        """
        started_s = time.perf_counter()
        start = self._start_in(data)
        if start is None:
            return None
        try:
            if not self._exchange.takes(data, start):
                return None
            self._admitted = self._accounts.let_in(self._identity)
        except LayerError:
            return None  # the handler proper meets it again, and answers with it
        except Exception as error:  # noqa: BLE001 -- a fault of ours, which the handler may not have
            report_error("an errand could not be repeated", error)
            return None
        self._started_s = started_s
        return start

    def _start_in(self, data: bytes) -> int | None:
        """Return where the body begins in a whole request like the one before."""
        opening, size_bytes = self.opening, len(data)
        if opening is None:
            return None
        start = opening.start_of_whole(data, size_bytes)
        if start is None and (found := opening.match(data)) is not None:
            begin, body_bytes = found
            start = begin if begin + body_bytes == size_bytes else None
        return start

    def begin_again(self, data: bytes, start: int) -> None:
        """Ask the store for what was taken; serve it as any other if it was not what it seemed.

        A query that is none is known only when the store is at work on it: to look first would let
        all others wait. It asks for nothing that its caller may not ask for, and nobody is told
        what the store answers to it; but it is the caller's until then, who would have more in
        flight than it may otherwise.
        """
        self.begin()
        if self._is_over or self._exchange.is_right:
            return
        self._is_over = True
        self._in_vain = asyncio.get_running_loop().create_future()
        seeming = self._request
        head, protocol, route = seeming.head, seeming.protocol, seeming.head.route
        assert route is not None
        self._request = request = EdgeRequest(
            head, data, start, len(data) - start, EMPTY_PAYLOAD, protocol
        )
        tally = Tally(self._identifier, self._started_s)
        tally.admitted()
        protocol.go_on(self._rest(self._handled(request, route, self._in_vain), tally))

    async def _handled(
        self, request: EdgeRequest, route: Route, in_vain: asyncio.Future[None]
    ) -> web.StreamResponse:
        try:
            return await self._accounts.handled(request, route)
        finally:
            await in_vain

    def begin(self) -> None:
        """Ask the store."""
        exchange = self._exchange
        self._asked_s = time.perf_counter()
        try:
            exchange.begin(self)
            self._identifier = identifier = self._named()
            exchange.prepare(identifier)
        except Exception as error:  # noqa: BLE001 -- whatever it is, this request alone fails
            self._is_over = True
            self._identifier = self._named()
            self._refuse(error, self._tally())

    def _named(self) -> str:
        """Return the id of the request at hand."""
        request = self._request
        return request.identifier or request.head.request_id or mint_request_id()

    def answered(self, answer: Answer, /) -> None:
        """Answer the request, in this turn if that is possible."""
        if self._is_over:
            self._forget_answer()
            return
        upstream_s = time.perf_counter() - self._asked_s
        try:
            response = self._exchange.conclude(answer)
        except Exception as error:  # noqa: BLE001 -- whatever it is, this request alone fails
            self._refuse(error, self._tally())
            return
        if response is None:
            rest = self._rest(self._exchange.go_on(answer), self._tally())
            self._request.protocol.go_on(rest)
            return
        request = self._request
        request.protocol.end_errand(
            request, response, self if self.body_opening is not None else None
        )
        self._admitted.give_back()
        seconds = time.perf_counter() - self._started_s
        try:
            self._accounts.answered(
                request, response, self._identifier, seconds=seconds, upstream_s=upstream_s
            )
            self._exchange.settle()
        except Exception as error:  # noqa: BLE001 -- the connection that called serves others
            report_error("an errand could not be settled", error)

    def failed(self, error: Exception, /) -> None:
        """Answer the request with what came instead of an answer."""
        if self._is_over:
            self._forget_answer()
        else:
            self._refuse(error, self._tally())

    def _forget_answer(self) -> None:
        """Take what the store has told of what is over."""
        if self._in_vain is not None and not self._in_vain.done():
            self._in_vain.set_result(None)

    async def _rest(self, work: Awaitable[web.StreamResponse], tally: Tally) -> None:
        """Serve what is left of the request as any other is served."""
        request_id.set(self._identifier)
        upstream_time.set(tally)
        try:
            response = await work
        except (ConnectionError, asyncio.CancelledError):
            self._admitted.give_back()
            raise  # the caller is gone, or we are going
        except Exception as error:  # noqa: BLE001 -- as above
            self._refuse(error, tally)
        else:
            tally.answered(is_ok=response.status < FIRST_ERROR_STATUS)
            self._end(response, tally)

    def _refuse(self, error: Exception, tally: Tally) -> None:
        if isinstance(error, LayerError):
            tally.failed(error)
        route = self._request.head.route
        self._end(self._accounts.refusal(error, route, self._identifier), tally)

    def _end(self, response: web.StreamResponse, tally: Tally) -> None:
        self._admitted.give_back()
        if isinstance(response, WholeAnswer):
            response.request_id = self._identifier
        self._request.protocol.end_errand(self._request, response)
        self._accounts.served(self._request, response, tally)

    def _tally(self) -> Tally:
        """Return the account of the request so far; what an errand serves needs none."""
        tally = Tally(self._identifier, self._started_s)
        tally.seconds = time.perf_counter() - self._asked_s
        tally.admitted()
        return tally
