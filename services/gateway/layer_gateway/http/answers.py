"""Answers of the edge: our own JSON, errors, and what upstream said, relayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from layer_gateway.ports import Headers, StoreAnswer
from layer_kit.errors import LayerError
from layer_kit.http_errors import error_body, error_headers
from layer_wire.jsontext import encode

JSON_TYPE: Final = "application/json"
NOT_RELAYED: Final = frozenset({b"content-length", b"date", b"server"})
"""Set anew for this hop."""


def json_answer(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with ``body`` as JSON."""
    return web.Response(status=status, body=encode(body), headers=headers, content_type=JSON_TYPE)


def error_answer(error: LayerError) -> web.Response:
    """Answer with the contract's error body."""
    return web.Response(
        status=error.http_status, body=error_body(error), headers=error_headers(error)
    )


def relayed(answer: StoreAnswer, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with upstream's status, headers and body, byte for byte."""
    found = relayed_headers(answer.headers)
    if headers:
        found.update(headers)
    return web.Response(status=answer.status, body=answer.body, headers=found)


def relayed_headers(headers: Headers) -> CIMultiDict[str]:
    """Return the end-to-end headers of an upstream answer."""
    return CIMultiDict(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if name not in NOT_RELAYED
    )
