"""Reading requests that come as nearly all do: a whole head, and a body whose length it tells.

aiohttp's parser makes a URL, a dictionary, and a stream for the body of each request, which costs
more than everything that layer itself does with one. What is read here is a strict subset of what
that parser accepts, and reads the same (docs/decisions/0005-http-edge.md).
"""

from __future__ import annotations

from typing import Final

from aiohttp import HttpVersion, HttpVersion11
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from multidict import CIMultiDict, CIMultiDictProxy

PLAIN_HEAD_BYTES_MAX: Final = 32 * 1024
"""Heads above it, which aiohttp may refuse, are left to it."""

FIELDS_COUNT_MAX: Final = 100

METHODS: Final = {
    method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
}
LEFT_TO_AIOHTTP: Final = frozenset({b"transfer-encoding", b"upgrade", b"expect"})
"""Fields that change how a request is to be read."""

KNOWN_NAMES_MAX: Final = 512
KNOWN_NAME_BYTES_MAX: Final = 64
_known_names: Final[dict[bytes, bytes]] = {}
"""Names of fields in lower case, as clients spell them; a few serve nearly all requests."""


class PlainHead:
    """The head of a request, with the part of its body that came along.

    Looks like aiohttp's message to whatever is given one.

    Attributes:
        fields: Values by name in lower case.
        body: All that came along of it.
        missing_bytes: What is still to come of it.
    """

    chunked = False
    compression = None
    upgrade = False
    version: HttpVersion = HttpVersion11

    def __init__(self, method: str, path: str, reader: PlainReader) -> None:
        self.method = method
        self.path = path
        self.raw_headers = tuple(reader.raw_headers)
        self.fields = reader.fields
        self.head_bytes = reader.head_bytes
        self.should_close = not reader.can_keep_alive
        self.body = reader.body
        self.missing_bytes = int(reader.fields.get(b"content-length", b"0")) - len(reader.body)

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """All of them, made anew each time: few handlers ask, and once."""
        return CIMultiDictProxy(
            CIMultiDict([(_text(name), _text(value)) for name, value in self.raw_headers])
        )


class PlainReader:
    """Reads the requests of one connection, one at a time.

    The names below that start with ``on_`` are called by the parser, never by us.
    """

    def __init__(self) -> None:
        self._parser = HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._is_plain = True
        self._has_head = False
        self._is_complete = False
        self._url = b""
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}
        self.can_keep_alive = False
        self.body = b""
        self.head_bytes = 0

    def read(self, data: bytes) -> PlainHead | None:
        """Return the request that begins with ``data`` and has nothing behind it.

        None when it is another kind of request, or no request at all, or not the whole head of
        one: then nothing has been read, and nothing can be read here any more.
        """
        self._begin()
        parser = self._parser
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            return None
        self.head_bytes = len(data) - len(self.body)
        method = METHODS.get(parser.get_method()) if self._has_head and self._is_plain else None
        if (
            method is None
            or b"host" not in self.fields
            or not self._url.startswith(b"/")
            or len(self.raw_headers) > FIELDS_COUNT_MAX
            or self.head_bytes > PLAIN_HEAD_BYTES_MAX
        ):
            return None
        if not self._is_complete:
            self._parser = HttpRequestParser(self)  # the rest of the body does not come here
        return PlainHead(method, _text(self._url), self)

    def on_message_begin(self) -> None:
        if self._has_head:
            self._is_plain = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = _known_names.get(name) or _learn(name)
        if lowered in self.fields or lowered in LEFT_TO_AIOHTTP:
            self._is_plain = False
        value = value.rstrip(b" \t")
        self.fields[lowered] = value
        self.raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._has_head = True
        if self._parser.get_http_version() != "1.1":
            self._is_plain = False
        self.can_keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body = body

    def on_message_complete(self) -> None:
        self._is_complete = True


def _learn(name: bytes) -> bytes:
    lowered = name.lower()
    if len(_known_names) < KNOWN_NAMES_MAX and len(name) <= KNOWN_NAME_BYTES_MAX:
        _known_names[name] = lowered
    return lowered


def _text(raw: bytes) -> str:
    """Decode as aiohttp does; bytes that are no UTF-8 become surrogates."""
    return raw.decode("utf-8", "surrogateescape")
