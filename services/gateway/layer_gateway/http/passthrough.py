"""Passing on what is the store's: bytes in, bytes out (docs/reference/http.md, "Passing on")."""

from __future__ import annotations

from typing import cast

import structlog
from aiohttp import web

from layer_gateway.http.answers import WholeAnswer, relayed
from layer_gateway.http.bodies import read_body
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.relayed_fields import relayed_headers
from layer_gateway.ports.stores import Forwarder, Headers, StreamedAnswer
from layer_kit.errors import LayerError
from layer_kit.rpc.context import REQUEST_ID_HEADER, request_id

log = structlog.get_logger(__name__)


class Passthrough:
    """Forwards requests and relays answers, streaming the large ones."""

    def __init__(self, store: Forwarder, *, body_bytes_max: int) -> None:
        self._store = store
        self._body_bytes_max = body_bytes_max

    async def __call__(
        self,
        request: web.BaseRequest,
        *,
        target: str | None = None,
        body: bytes | None = None,
        is_awaited: bool = False,
    ) -> web.StreamResponse:
        """Forward ``request``.

        Args:
            target: Path and query to ask upstream for, when not the caller's own.
            body: The body, when it was read already. It goes out as it stands, so a body that
                was inflated loses its ``content-encoding``.
            is_awaited: Whether layer has something to do before the caller gets the answer, which
                is then asked for whole and in no encoding.
        """
        head = cast("EdgeRequest", request).head
        unsent = [b"accept-encoding"] if is_awaited else []
        if body is None:
            body = await read_body(request, self._body_bytes_max)
        elif head.is_encoded:
            unsent.append(b"content-encoding")
        headers: Headers = head.raw_headers  # the client leaves out those of this hop
        if unsent:
            headers = [field for field in headers if field[0].lower() not in unsent]
        answer = await self._store.forward(
            head.raw_method,
            head.target if target is None else target.encode(),
            headers,
            body,
            stream=not is_awaited,
        )
        if not answer.is_complete:
            return await streamed(answer, request)
        return whole(answer, request)


def whole(answer: StreamedAnswer, request: web.BaseRequest) -> WholeAnswer:
    """Relay an answer that is at hand."""
    response = relayed(answer, body=answer.parts)
    if request.method == "HEAD":
        response.fields = [
            *response.fields,
            *(field for field in answer.headers if field[0] == b"content-length"),
        ]
    return response


async def streamed(answer: StreamedAnswer, request: web.BaseRequest) -> web.StreamResponse:
    """Relay an answer while it arrives.

    Raises:
        ConnectionError: When upstream, or the caller, is gone in the middle of it. The head is
            out by then, so that only a connection that breaks can tell the caller.
    """
    headers = relayed_headers(answer.headers)
    headers[REQUEST_ID_HEADER] = request_id.get()
    stream = web.StreamResponse(status=answer.status, headers=headers)
    cast("EdgeRequest", request).open_writer()
    try:
        await stream.prepare(request)
        if answer.body:
            await stream.write(answer.body)
        async for part in answer.iter_body():
            await stream.write(part)
        await stream.write_eof()
    except LayerError as error:
        log.warning(
            "relay_broken",
            reason=error.reason,
            message=error.message,
            request_id=request_id.get(),
        )
        raise ConnectionAbortedError(error.message) from error
    finally:
        await answer.aclose()
    return stream
