"""What requests say before their bodies.

Nearly all requests come plain: HTTP/1.1, the whole head in one read, no field twice, nothing but
``content-length`` to frame the body, nothing behind it. And callers send the same head over and
over, but for that length. So each such head is read by llhttp once, and is remembered with all that
follows from it alone. What is read here is a strict subset of what aiohttp's parser accepts, which
has all others, and reads the same (docs/decisions/0005-http-edge.md).
"""

from __future__ import annotations

import functools
from itertools import chain
from typing import Final

from aiohttp import HttpVersion, HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.typedefs import RawHeaders
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from layer_gateway.application.inbound import SENT_ON
from layer_gateway.domain.access import required_scope
from layer_gateway.domain.visits import Visit
from layer_gateway.http.route_lookup import route
from layer_gateway.http.routes import PUBLIC_PATHS
from layer_gateway.ports.stores import Caller
from layer_kit.rpc.context import REQUEST_ID_HEADER, TRACE_FIELDS, is_request_id
from layer_upstream import HeadTemplate, template_of

PLAIN_HEAD_BYTES_MAX: Final = 32 * 1024
"""Heads above it, which aiohttp may refuse, are left to it."""

REMEMBERED_BYTES_MAX: Final = 4096
HEADS_REMEMBERED_MAX: Final = 1024
"""Longer heads are read each time, so that what is remembered stays below some 20 MiB."""

FIELDS_COUNT_MAX: Final = 100
METHODS: Final = {
    method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
}
LEFT_TO_AIOHTTP: Final = frozenset({"transfer-encoding", "expect"})
"""Fields that change how a request is to be read."""

JSON_TYPES: Final = frozenset({"application/json", "application/problem+json", "text/json"})

_END: Final = b"\r\n\r\n"


class Head:
    """The head of a request, with what follows from it alone.

    Args:
        fields: First values by name in lower case. Of a plain request they, like ``raw_headers``,
            are without ``content-length``, the one thing in which it may differ from others.
        size_bytes: How long the target and all fields are together.

    Attributes:
        path: With the query string, and with its escapes.
        path_only: Without the query string.
        target: ``path`` as it goes on the wire.
        caller: What identifies the caller to the store.
        route: None for what the edge answers itself.
        scope: What a caller needs for it.
        request_id: The caller's own, if it is well formed.
        session: What it says of the search session, once somebody has asked.
        kept: What the handler of its requests keeps with it.
        is_json: Whether the body is JSON by its type.
        is_encoded: Whether the body is not what it stands for.
        is_usual: Whether the connection stays open though nobody says so.
        is_plain_json: Whether the body is JSON as it stands.
        is_traced: Whether the request belongs to a trace.
    """

    __slots__ = (
        "bearer",
        "caller",
        "can_keep_alive",
        "fields",
        "is_encoded",
        "is_json",
        "is_plain_json",
        "is_traced",
        "is_usual",
        "kept",
        "method",
        "path",
        "path_only",
        "raw_headers",
        "raw_method",
        "request_id",
        "route",
        "scope",
        "session",
        "size_bytes",
        "target",
        "version",
    )

    def __init__(
        self,
        method: str,
        path: str,
        raw_headers: RawHeaders,
        fields: dict[str, str],
        *,
        size_bytes: int,
        can_keep_alive: bool,
        version: HttpVersion = HttpVersion11,
    ) -> None:
        self.method = method
        self.raw_method = method.encode()
        self.path = path
        self.path_only = path_only = path.partition("?")[0]
        self.target = path.encode("utf-8", "surrogateescape")
        self.raw_headers = raw_headers
        self.fields = fields
        self.size_bytes = size_bytes
        self.can_keep_alive = can_keep_alive
        self.version = version
        self.is_usual = can_keep_alive and version >= HttpVersion11
        self.route = None if path_only in PUBLIC_PATHS else route(method, path_only)
        self.scope = required_scope(method, path_only)
        self.session: Visit | None = None
        self.kept: object = None
        self.caller = Caller(
            headers=tuple(
                (lowered, value)
                for name, value in raw_headers
                if (lowered := name.lower()) in SENT_ON
            )
        )
        self.bearer = fields.get("authorization")
        offered = fields.get(REQUEST_ID_HEADER)
        self.request_id = offered if offered is not None and is_request_id(offered) else None
        media_type = fields.get("content-type", "").partition(";")[0].strip().lower()
        self.is_json = media_type in JSON_TYPES
        self.is_encoded = "content-encoding" in fields
        self.is_plain_json = self.is_json and not self.is_encoded
        self.is_traced = not TRACE_FIELDS.isdisjoint(fields)


class PlainReader:
    """Reads the requests of one connection, which mostly begin like the one before."""

    __slots__ = ("_head", "_template")

    def __init__(self) -> None:
        self._template: HeadTemplate | None = None
        self._head: Head | None = None

    def read(self, data: bytes) -> tuple[Head, int, int] | None:
        """Return the head that ``data`` begins with, where the body begins, and its length.

        None when it is another kind of request, or no request at all, or not the whole head of one.
        """
        template = self._template
        found = None if template is None else template.match(data)
        start, body_bytes = found or self._read_head(data)
        head = self._head
        if head is None or len(data) - start > body_bytes:
            return None
        return head, start, body_bytes

    def opening(self, body: bytes) -> HeadTemplate | None:
        """Return how requests begin that have the same head as the one before, and then ``body``.

        None where that head tells no length.
        """
        return None if self._template is None else self._template.then(body)

    def _read_head(self, data: bytes) -> tuple[int, int]:
        """Return where the head ends, and the length of the body."""
        start = data.find(_END, 0, PLAIN_HEAD_BYTES_MAX) + len(_END)
        text, body_bytes = data[:start], 0
        found = template_of(text)
        self._template = None
        if found is not None:
            template, body_bytes = found
            text = template.zero
            if start <= REMEMBERED_BYTES_MAX:
                self._template = template
        self._head = _remembered(text) if start <= REMEMBERED_BYTES_MAX else _read(text)
        return start, body_bytes


def head_of(message: RawRequestMessage) -> Head:
    """Return the head of a request that aiohttp's parser has read.

    Behind one that offers to speak another protocol that parser loses what has come already, and
    would take the rest for the beginning of a request: the connection can have no other.
    """
    raw_headers = message.raw_headers
    return Head(
        message.method,
        message.path,
        raw_headers,
        {text_of(name).lower(): text_of(value) for name, value in reversed(raw_headers)},
        size_bytes=len(message.path) + len(b"".join(chain.from_iterable(raw_headers))),
        can_keep_alive=not (message.should_close or message.upgrade),
        version=message.version,
    )


def _read(text: bytes) -> Head | None:
    """Read the head of a request without a body; None when it is not plain."""
    reader = _Reader()
    parser = reader.parser
    try:
        parser.feed_data(text)
    except HttpParserUpgrade:
        pass  # an offer that nobody here takes up, of a request like any other
    except HttpParserError:
        return None
    method = METHODS.get(parser.get_method()) if reader.is_complete and reader.is_plain else None
    if (
        method is None
        or parser.get_http_version() != "1.1"
        or "host" not in reader.fields
        or not reader.url.startswith(b"/")
        or len(reader.raw_headers) > FIELDS_COUNT_MAX
    ):
        return None
    return Head(
        method,
        text_of(reader.url),
        tuple(reader.raw_headers),
        reader.fields,
        size_bytes=len(text),
        can_keep_alive=reader.can_keep_alive,
    )


_remembered: Final = functools.lru_cache(HEADS_REMEMBERED_MAX)(_read)


class _Reader:
    """Takes what llhttp finds in one head."""

    def __init__(self) -> None:
        self.parser = HttpRequestParser(self)
        self.is_plain = True
        self.is_complete = False
        self.can_keep_alive = False
        self.url = b""
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.fields: dict[str, str] = {}

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.is_plain = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        field, value = text_of(name).lower(), value.rstrip(b" \t")
        if field in self.fields or field in LEFT_TO_AIOHTTP:
            self.is_plain = False
        self.fields[field] = text_of(value)
        self.raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.can_keep_alive = self.parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self.is_complete = True
        self.fields.pop("content-length", None)
        self.raw_headers = [
            field for field in self.raw_headers if field[0].lower() != b"content-length"
        ]


def text_of(raw: bytes) -> str:
    """Decode as aiohttp does; bytes that are no UTF-8 become surrogates."""
    return raw.decode("utf-8", "surrogateescape")
