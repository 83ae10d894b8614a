"""The server's side of a connection, for what goes wrong before or after a request is ours."""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from layer_gateway.http.answers import error_answer
from layer_kit.errors import InternalError, LayerError, MalformedRequestError
from layer_kit.rpc.context import REQUEST_ID_HEADER, accept_request_id


class EdgeServer(web.Server):
    """Serves connections that fail in the words of the contract."""

    def __call__(self) -> web.RequestHandler:
        return EdgeProtocol(self, loop=self._loop, **self._kwargs)


class EdgeProtocol(web.RequestHandler):
    """One connection."""

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
            first_line = (message or "").strip().partition("\n")[0].rstrip(":")
            error = MalformedRequestError("HTTP_MALFORMED", f"This is not HTTP: {first_line}.")
        else:
            self.log_exception("connection_crashed", exc_info=exc)
            error = InternalError("INTERNAL", "Internal error.")
        response = error_answer(error)
        response.headers[REQUEST_ID_HEADER] = accept_request_id(None)
        response.force_close()
        return response
