"""What handlers read off a request beside its body."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

from aiohttp import web
from msgspec import structs

from layer_gateway.domain.visits import Visit, minted, read_session
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.heads import Head
from layer_gateway.http.routes import Route
from layer_gateway.ports.stores import Caller

Handler = Callable[[EdgeRequest, Route], Awaitable[web.StreamResponse]]


class EdgeHandler(Protocol):
    """Who serves requests."""

    def __call__(self, request: EdgeRequest, /) -> Awaitable[web.StreamResponse]:
        """Return the answer to a request."""
        ...

    def may_begin(self, head: Head, /) -> bool:
        """Tell whether an errand may serve a request, as far as its head tells."""
        ...

    def begin(self, request: EdgeRequest, /) -> bool:
        """Begin an errand, at whose end the request's protocol is told; False where none can."""
        ...


VECTOR_WARNING: Final = {"x-layer-warning": "vector_attribute_dropped"}
_numbers: Final = random.Random()  # noqa: S311 -- unlike, not secret; the system's cost more


def caller_of(request: web.BaseRequest) -> Caller:
    """Return what identifies the caller to the store."""
    request = cast("EdgeRequest", request)
    caller = request.head.caller
    if not request.confined_to:
        return caller
    return structs.replace(caller, namespaces=request.confined_to)


def query_string(request: web.BaseRequest) -> str:
    """Return the query string as it came; aiohttp's own has its escapes undone already."""
    return cast("EdgeRequest", request).head.path.partition("?")[2]


def visit_of(request: web.BaseRequest) -> Visit:
    """Return what the request says of its session, with a trace of layer's where it has none.

    Raises:
        InvalidRequestError: ``TAG_INVALID`` or ``TOO_MANY_TAGS``.
    """
    return with_trace(session_of(request))


def with_trace(session: Visit) -> Visit:
    """Return ``session`` with a trace of layer's where it has none."""
    return minted(session, int(time.time()), _numbers.getrandbits) if session.is_minted else session


def session_of(request: web.BaseRequest) -> Visit:
    """Return the same, without a trace where the request has none."""
    head = cast("EdgeRequest", request).head
    session = head.session
    if session is None:
        session = head.session = read_session(head.fields.get)
    return session
