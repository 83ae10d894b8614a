"""Passing on what is the store's: bytes in, bytes out (docs/reference/http.md, "Passing on")."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict

from layer_gateway.http.answers import relayed, relayed_headers
from layer_gateway.http.bodies import read_body
from layer_gateway.ports import Forwarder, Headers

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Passthrough:
    """Forwards requests and relays answers, streaming the large ones."""

    def __init__(self, store: Forwarder, *, body_bytes_max: int) -> None:
        self._store = store
        self._body_bytes_max = body_bytes_max

    async def __call__(
        self, request: web.BaseRequest, *, target: str | None = None, body: bytes | None = None
    ) -> web.StreamResponse:
        """Forward ``request``.

        Args:
            target: Path and query to ask upstream for, when not the caller's own.
            body: The body, when it was read already. It goes out as it stands, so a body that
                was inflated loses its ``content-encoding``.
        """
        inflated = body is not None
        if body is None:
            body = await read_body(request, self._body_bytes_max)
        headers = end_to_end(request.raw_headers, drop_encoding=inflated)
        answer = await self._store.forward(
            request.method.encode(), (target or request.raw_path).encode(), headers, body
        )
        if answer.is_complete:
            response = relayed(answer)
            _rewrite_location(response.headers, request)
            return response
        found = relayed_headers(answer.headers)
        _rewrite_location(found, request)
        stream = web.StreamResponse(status=answer.status, headers=found)
        try:
            await stream.prepare(request)
            async for part in answer.iter_body():
                await stream.write(part)
            await stream.write_eof()
        finally:
            await answer.aclose()
        return stream


def end_to_end(raw_headers: Headers, *, drop_encoding: bool) -> Headers:
    """Return the headers to send on: not those of this hop, nor those it names in Connection."""
    named = {
        token.strip().lower()
        for name, value in raw_headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    dropped = HOP_BY_HOP | named | ({b"content-encoding"} if drop_encoding else frozenset())
    return [
        (lowered, value) for name, value in raw_headers if (lowered := name.lower()) not in dropped
    ]


def _rewrite_location(headers: CIMultiDict[str], request: web.BaseRequest) -> None:
    """Point a ``location`` at this origin: clients refuse to poll another one."""
    location = headers.get("location")
    if location is None or not location.startswith(("http://", "https://")):
        return
    parts = urlsplit(location)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    headers["location"] = f"{request.scheme}://{request.host}{path}"
