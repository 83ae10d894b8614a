"""The server's side of a connection: how its requests take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from layer_gateway.http.answers import SENT_WHOLE, ErrandAnswer, WholeAnswer
from layer_gateway.http.budget import BodyBudget
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.errands import Errand
from layer_gateway.http.gathering import GATHERED_BYTES_MAX, Gathering
from layer_gateway.http.heads import Head, PlainReader
from layer_gateway.http.receiving import ReceivingProtocol
from layer_gateway.http.requests import EdgeHandler


class EdgeProtocol(ReceivingProtocol):
    """One connection, which serves its requests by errands, or in its one task.

    aiohttp's own loop makes a task for each request, with a copy of the context, and wakes one from
    the other: a tenth of what a request may cost here. Our handlers leave nothing in the context
    that the next request does not set anew.

    Args:
        patience_s: How long the first head may take, a body beyond what its size excuses, and a
            caller to take a part of an answer; what a later head may take is the keep-alive
            timeout's.
    """

    def __init__(
        self, manager: web.Server, handler: EdgeHandler, *, budget: BodyBudget, **kwargs: Any
    ) -> None:
        super().__init__(manager, budget=budget, **kwargs)
        self._handler = handler
        self._plain_reader = PlainReader()
        self._head_timer: asyncio.TimerHandle | None = None
        self._has_served = False
        self._is_on_errand = False
        """Whether the request at hand is served without the task, which waits meanwhile."""
        self._beside: asyncio.Task[None] | None = None
        """What an errand has become that took a task after all."""
        self._again: Errand[Any] | None = None
        """What has served the request before, while it may serve the next one as well."""
        self._gathering: Gathering | None = None
        """What has come of a request that is better served whole, while more of it is to come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(self.patience_s, self._give_up_on_the_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 -- aiohttp's
        self._again = None
        await super().shutdown(timeout)

    def force_close(self) -> None:
        self._end_gathering()
        self._again = None
        super().force_close()

    def close(self) -> None:
        """Close the connection once the request at hand is answered."""
        self._stop_gathering()
        self._again = None
        if self._is_on_errand:
            self._close = True  # which its end looks at
        else:
            super().close()

    def data_received(self, data: bytes) -> None:
        """Take what the caller sends; aiohttp's parser reads on from whatever is not plain."""
        if self._gathering is not None:
            if not self._gathering.is_whole_with(data):
                return
            data = self._end_gathering()
        errand, self._again = self._again, None
        if errand is not None:
            start = errand.takes(data)
            if start is not None:
                self._keepalive = False  # no timer is to end it
                self._is_on_errand = self._request_in_progress = True
                errand.begin_again(data, start)
                return
        if self._body is not None:
            data = self._feed_body(self._body, data)
        self._receive(data, may_gather=True, again=errand)

    def _receive(self, data: bytes, *, may_gather: bool, again: Errand[Any] | None = None) -> None:
        """Take what may begin with a request, which ``again`` may serve once it is gathered."""
        self._again = None  # what comes next may be the rest of this request
        if not data or not self._is_plain or self._force_close or self._close:
            self._parse(data)
            return
        plain = self._plain_reader.read(data)
        if plain is None:
            self._is_plain = False
            self._parse(data)
            return
        head, start, length = plain
        missing_bytes = start + length - len(data)
        if missing_bytes and may_gather and self._is_gathered(head, start + length):
            self._keepalive = False  # no timer is to end it
            self._has_served = True
            self._again = again
            self._gathering = Gathering(data, missing_bytes, self._stop_gathering)
            return
        if missing_bytes:
            payload = StreamReader(self, self._read_bufsize, loop=self._loop)
            self._body, self._missing_bytes = payload, missing_bytes
            payload.feed_data(data[start:])
            request = EdgeRequest(head, None, 0, length, payload, self)
        else:
            payload = EMPTY_PAYLOAD
            request = EdgeRequest(head, data, start, length, payload, self)
            if self._begin(request):
                return
        self._messages.append((cast("RawRequestMessage", request), payload))
        if len(self._messages) >= self._max_msg_queue_size:
            self._pause_reading_for_buffer()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop_gathering(self) -> None:
        """Go on with what has come of a request."""
        if self._gathering is not None:
            self._receive(self._end_gathering(), may_gather=False)

    def _end_gathering(self) -> bytes:
        """Return what has come of a request, and keep it no longer."""
        gathering, self._gathering = self._gathering, None
        return b"" if gathering is None else gathering.end()

    @property
    def _is_free(self) -> bool:
        """Whether nothing is before a request that comes now."""
        waiter = self._waiter
        return not (self._is_on_errand or self._messages or waiter is None or waiter.done())

    def _is_gathered(self, head: Head, size_bytes: int) -> bool:
        """Tell whether to wait for the rest of a request, since an errand may serve it then."""
        return size_bytes <= GATHERED_BYTES_MAX and self._is_free and self._handler.may_begin(head)

    def _begin(self, request: EdgeRequest) -> bool:
        """Serve a request by an errand, if nothing is before it and one will do."""
        if not self._is_free:
            return False
        was_kept_alive, self._keepalive = self._keepalive, False  # no timer is to end it
        self._is_on_errand = self._request_in_progress = self._has_served = True
        if self._handler.begin(request):
            return True
        self._is_on_errand = self._request_in_progress = False
        self._keepalive = was_kept_alive
        return False

    def go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Let an errand take its time; :meth:`end_errand` ends it as any other."""
        self._beside = self._loop.create_task(self._finish_beside(work))

    async def _finish_beside(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 -- one connection's fault is not another's
            self._break_off(error)
            self._end_errand(None)

    def end_errand(
        self,
        request: EdgeRequest,
        response: ErrandAnswer | web.StreamResponse,
        again: Errand[Any] | None = None,
    ) -> None:
        """Send the answer to the request at hand, and go on to what came after it.

        Args:
            again: May serve the next request, too.
        """
        try:
            if isinstance(response, SENT_WHOLE):
                response.send(request)
        except Exception as error:  # noqa: BLE001 -- who called has other connections to serve
            self._break_off(error)
        if self._paused:
            self.go_on(self._end_when_drained(response))
        else:
            self._end_errand(response, again)

    async def _end_when_drained(self, response: ErrandAnswer | web.StreamResponse) -> None:
        await self._drain_helper()
        self._end_errand(response)

    def _break_off(self, error: Exception) -> None:
        """Close the connection of a caller who does not get an answer, or not all of it."""
        if not isinstance(error, ConnectionError):  # of the others the caller is gone
            self.log_exception("connection_crashed", exc_info=error)
        self.force_close()

    def _end_errand(
        self, response: ErrandAnswer | web.StreamResponse | None, again: Errand[Any] | None = None
    ) -> None:
        """Go on to what came after a request; None for one that was broken off."""
        self._is_on_errand = self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if self.transport is None or response is None:
            return
        if self._close or not self._wait_for_more(response):
            self.force_close()
        elif not self._messages:
            self._expect_another(again)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expect_another(self, again: Errand[Any] | None) -> None:
        """Let an errand look at what comes next, if that can be the beginning of a request."""
        if again is None or self._force_close or not self._is_plain:
            return
        if again.opening is None and again.body_opening is not None:
            again.opening = self._plain_reader.opening(again.body_opening)
        self._again = again

    def _give_up_on_the_head(self) -> None:
        """Close a connection on which nothing worth an answer has come."""
        if not self._has_served and not self._messages:
            self.force_close()

    async def start(self) -> None:
        """Serve one request after another; aiohttp's own loop has what is not a plain request."""
        try:
            while not self._force_close:
                if not self._messages or self._is_on_errand:
                    self._waiter = self._loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                    continue
                if isinstance(self._messages[0][0], _ErrInfo) or self._upgraded:
                    await super().start()
                    return
                if not await self._serve_next() or self._close:
                    break
        except ConnectionError:
            pass  # the caller is gone, or will not get the rest of its answer
        except asyncio.CancelledError:
            self.force_close()
            raise
        except Exception as error:  # noqa: BLE001 -- one connection's fault is not another's
            self.log_exception("connection_crashed", exc_info=error)
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _serve_next(self) -> bool:
        """Answer a request; tell whether another may follow on this connection."""
        message, payload = self._messages.popleft()
        assert not isinstance(message, _ErrInfo)
        if isinstance(message, EdgeRequest):
            request = message
        else:
            request = EdgeRequest.of(message, payload, self)
            if self._parser is not None:
                self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        self._has_served = True
        self._request_in_progress = True
        self._current_request = request
        try:
            response = await self._handler(request)
            if isinstance(response, WholeAnswer):
                response.send(request)
                if self._paused:
                    await self._drain_helper()
            else:
                await response.prepare(request)
                await response.write_eof()
        finally:
            self._current_request = None
            self._request_in_progress = False
            self._let_go()
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        if (
            payload is not EMPTY_PAYLOAD
            and not payload.is_eof()
            and not await self._has_drained(payload)
        ):
            return False
        return self._wait_for_more(response)
