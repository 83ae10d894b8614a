"""What handlers read off a request beside its body."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from layer_gateway.application.inbound import SENT_ON
from layer_gateway.http.routes import Route
from layer_gateway.ports import Caller
from layer_wire.queries import VECTOR_ATTRIBUTE

Handler = Callable[[web.BaseRequest, Route], Awaitable[web.StreamResponse]]

VECTOR_WARNING: Final = {"x-layer-warning": "vector_attribute_dropped"}
_TRACEPARENT: Final = re.compile(
    r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.IGNORECASE
)


def caller_of(request: web.BaseRequest) -> Caller:
    """Return what identifies the caller to the store."""
    return Caller(
        headers=[
            (lowered, value)
            for name, value in request.raw_headers
            if (lowered := name.lower()) in SENT_ON
        ]
    )


def query_string(request: web.BaseRequest) -> str:
    """Return the query string as it came; aiohttp's own has its escapes undone already."""
    return request.raw_path.partition("?")[2]


def traceparent(request: web.BaseRequest) -> str:
    """Echo a valid traceparent, or mint one so that clicks can be joined to this query."""
    offered = request.headers.get("traceparent", "")
    found = _TRACEPARENT.fullmatch(offered)
    if found and set(found[1]) != {"0"} and set(found[2]) != {"0"}:
        return offered
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def without_vector(names: list[str] | None) -> tuple[list[str] | None, dict[str, str]]:
    """Return the attributes that may be answered, None for all; and a warning if one may not."""
    if names is None:
        return None, {}
    kept = [name for name in names if name != VECTOR_ATTRIBUTE]
    return kept, dict(VECTOR_WARNING) if len(kept) < len(names) else {}
