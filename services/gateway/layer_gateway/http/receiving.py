"""What a connection receives: bodies, within their bounds, and what is not HTTP."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.web_protocol import _ErrInfo

from layer_gateway.http.answers import ErrandAnswer, error_answer
from layer_gateway.http.budget import BodyBudget
from layer_gateway.http.head_errors import unreadable
from layer_gateway.http.sending import SendingProtocol
from layer_kit.errors import InternalError, LayerError
from layer_kit.rpc.context import mint_request_id


class ReceivingProtocol(SendingProtocol):
    """The half of a connection that does not depend on what serves its requests."""

    def __init__(self, manager: web.Server, *, budget: BodyBudget, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._budget = budget
        self._held_bytes = 0
        self._is_plain = True
        """False once aiohttp's parser reads this connection."""
        self._body: StreamReader | None = None
        """Of a plain request, as long as a part of it is missing."""
        self._missing_bytes = 0

    async def hold(self, size_bytes: int) -> None:
        """Make room for a part of a body until the request at hand is answered.

        Raises:
            UnavailableError: ``BODIES_TOO_MANY``.
        """
        await self._budget.take(size_bytes)
        self._held_bytes += size_bytes

    def _let_go(self) -> None:
        """Give back the room of the request at hand."""
        if self._held_bytes:
            self._budget.give(self._held_bytes)
            self._held_bytes = 0

    def _parse(self, data: bytes) -> None:
        """Let aiohttp's parser read on, and end a body of which it cannot make anything any more.

        It tells of what is not HTTP as of a request of its own, for which the one whose body that
        spoils would wait.
        """
        super().data_received(data)
        fault = self._messages[-1][0] if self._messages else None
        if not isinstance(fault, _ErrInfo):
            return
        body: StreamReader | None = None
        if len(self._messages) > 1:
            body = self._messages[-2][1]
        elif self._current_request is not None:
            body = self._current_request.content
        if body is not None and not body.is_eof():
            self._messages.pop()
            body.set_exception(web.RequestPayloadError(fault.message), fault.exc)

    def _feed_body(self, body: StreamReader, data: bytes) -> bytes:
        """Add ``data`` to a body; return what follows it."""
        missing_bytes = self._missing_bytes
        if len(data) < missing_bytes:
            self._missing_bytes -= len(data)
            body.feed_data(data)
            return b""
        self._body = None
        body.feed_data(data[:missing_bytes])
        body.feed_eof()
        return data[missing_bytes:]

    async def _has_drained(self, payload: StreamReader) -> bool:
        """Read what the caller still sends of a body that nobody wanted, for a while."""
        try:
            async with asyncio.timeout(self._lingering_time):
                while not payload.is_eof():
                    await payload.readany()
        except (TimeoutError, web.RequestPayloadError):
            return False
        return True

    def _wait_for_more(self, response: ErrandAnswer | web.StreamResponse) -> bool:
        """Give the caller time for another request; tell whether one may follow."""
        self._keepalive = bool(response.keep_alive)
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None and self._keepalive:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        return self._keepalive

    def pause_reading(self) -> None:
        """Stop reading until what has come of a body is taken."""
        if not self._is_plain:
            super().pause_reading()
        else:
            self._reading_paused = True
            self._pause_transport_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 -- aiohttp's
        """Go on reading if it was stopped: every chunk that is taken from a body asks for it."""
        if not self._is_plain:
            if self._reading_paused or self._buffer_paused:
                super().resume_reading(resume_parser)
        elif self._reading_paused:
            self._reading_paused = False
            if not self._buffer_paused:
                self._resume_transport_reading()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP, and close the connection, on which nothing can follow it.

        Raises:
            ConnectionError: When the caller is gone, or has had a part of an answer.
        """
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            raise ConnectionAbortedError("the connection is of no more use") from exc
        error: LayerError
        if status == HTTPStatus.BAD_REQUEST:
            error = unreadable(exc, (message or "").strip())
        else:
            self.log_exception("connection_crashed", exc_info=exc)
            error = InternalError("INTERNAL", "Internal error.")
        response = error_answer(error)
        response.request_id = mint_request_id()
        response.force_close()
        return response
