"""Answers of the edge: our own JSON, errors, and what upstream said, relayed."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from layer_gateway.http.relayed_fields import relayed_fields
from layer_gateway.ports.stores import Headers, StoreAnswer
from layer_kit.errors import InternalError, LayerError
from layer_kit.http_errors import error_body, error_headers
from layer_kit.rpc.context import REQUEST_ID_HEADER
from layer_wire.jsontext import Raw, encode

if TYPE_CHECKING:
    from layer_gateway.http.edge_request import EdgeRequest
    from layer_gateway.http.heads import Head

JSON_FIELDS: Final = ((b"content-type", b"application/json"),)
FIRST_ERROR_STATUS: Final = 400

SINGLE_WRITE_BYTES_MAX: Final = 16 * 1024
"""Up to here joining head and body is cheaper than a gathering write."""

FIELDS_REMEMBERED_MAX: Final = 256

_REQUEST_ID: Final = REQUEST_ID_HEADER.encode() + b": %b\r\n"
_HEAD: Final = b"%b%bcontent-length: %d\r\n%b\r\n"
_QUICK_HEAD: Final = b"%b" + _REQUEST_ID + b"content-length: %d\r\n%b\r\n"
_LAST_PAGE: Final = b'%bcontent-length: %d\r\n\r\n{"rows":[%b],"next_cursor":null}'
_LAST_PAGE_BYTES: Final = len('{"rows":[],"next_cursor":null}')
_PAGE: Final = (
    b'%bx-layer-next-cursor: %b\r\ncontent-length: %d\r\n\r\n{"rows":[%b],"next_cursor":"%b"}'
)
_PAGE_BYTES: Final = len('{"rows":[],"next_cursor":""}')
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_BODILESS_STATUSES: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class WholeAnswer(web.StreamResponse):
    """An answer whose body is at hand: head and body leave in one write.

    ``web.Response`` decides on encoding, chunking and media type for every answer, a fifth of
    what a request may cost; here all of it is known.

    Args:
        fields: Header fields as they go on the wire, without those of this hop.
        body: Whole, or in pieces.
        headers: Further ones; ``response.headers`` adds to them.
    """

    def __init__(
        self,
        status: int,
        fields: Headers,
        body: bytes | Sequence[bytes | bytearray],
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        # The base class's own would make several objects that nothing here looks at.
        self._status = status
        self._added = headers
        self.fields = fields
        self._parts: Sequence[bytes | bytearray] = (body,) if isinstance(body, bytes) else body
        self.request_id = ""

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    @property
    def headers(self) -> CIMultiDict[str]:
        """What was given as ``headers``, to be added to."""
        if not isinstance(self._added, CIMultiDict):
            self._added = CIMultiDict(self._added or {})
        return self._added

    def send(self, request: EdgeRequest) -> None:
        """Send all of it.

        Raises:
            ConnectionResetError: When the caller is gone.
        """
        transport = _transport_of(request)
        self._eof_sent = True
        request_head, lines, status = request.head, b"", self._status
        if request_head.is_usual and self._keep_alive is None:
            self._keep_alive = True
        else:
            lines = self._connection_line(request_head)
        if self._added:
            lines += self._added_lines()
        if self.request_id:
            lines += _REQUEST_ID % self.request_id.encode()
        beginning, date = _beginning(status, tuple(self.fields)), date_line()
        if request_head.method == "HEAD" or status in _BODILESS_STATUSES:
            transport.write(b"".join((beginning, lines, date, b"\r\n")))
            return
        parts = self._parts
        body_bytes = sum(map(len, parts))
        head = _HEAD % (beginning, lines, body_bytes, date)
        if body_bytes <= SINGLE_WRITE_BYTES_MAX:
            transport.write(b"".join((head, *parts)))
        else:
            transport.writelines((head, *parts))

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it where aiohttp's own loop serves a request."""
        if not self._eof_sent:
            self.send(cast("EdgeRequest", request))
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: :meth:`send` has sent the end."""

    def _connection_line(self, request_head: Head) -> bytes:
        """Return what tells whether the connection stays open, where that goes without saying not.

        Settles it, too, where nobody has.
        """
        if self._keep_alive is None:
            self._keep_alive = request_head.can_keep_alive
        if not self._keep_alive:
            return b"connection: close\r\n"
        return b"" if request_head.version >= HttpVersion11 else b"connection: keep-alive\r\n"

    def _added_lines(self) -> bytes:
        added = self._added or {}
        lines = "".join([f"{name}: {value}\r\n" for name, value in added.items()])
        return _checked(lines.encode("latin-1"), len(added))


class PageAnswer(msgspec.Struct, eq=False, gc=False):
    """Rows that were found, on a connection that stays open; made of as little as possible.

    Attributes:
        beginning: Status line and fields as they go on the wire, the date among them, without those
            that depend on what was found.
        cursor: What leads to the next page; it has nothing in it to escape.
    """

    beginning: bytes
    rows: Sequence[Raw]
    cursor: bytes | None
    status: int = HTTPStatus.OK.value
    keep_alive: bool = True

    def send(self, request: EdgeRequest) -> None:
        """Send all of it.

        Raises:
            ConnectionResetError: When the caller is gone.
        """
        transport, cursor = _transport_of(request), self.cursor
        rows = b",".join(self.rows)
        if cursor is None:
            text = _LAST_PAGE % (self.beginning, len(rows) + _LAST_PAGE_BYTES, rows)
        else:
            body_bytes = len(rows) + len(cursor) + _PAGE_BYTES
            text = _PAGE % (self.beginning, cursor, body_bytes, rows, cursor)
        transport.write(text)


class QuickAnswer(msgspec.Struct, eq=False, gc=False):
    """An answer with status 200 on a connection that stays open, made of as little as possible.

    Attributes:
        beginning: Status line and fields as they go on the wire, without those of this hop.
    """

    beginning: bytes
    body: bytes
    request_id: str = ""
    status: int = HTTPStatus.OK.value
    keep_alive: bool = True

    def send(self, request: EdgeRequest) -> None:
        """Send all of it.

        Raises:
            ConnectionResetError: When the caller is gone.
        """
        transport, body = _transport_of(request), self.body
        head = _QUICK_HEAD % (self.beginning, self.request_id.encode(), len(body), date_line())
        if len(body) <= SINGLE_WRITE_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.writelines((head, body))


def _transport_of(request: EdgeRequest) -> asyncio.Transport:
    """Return what an answer is written to.

    Raises:
        ConnectionResetError: When the caller is gone.
    """
    transport = request.protocol.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the caller closed the connection")
    return transport


SENT_WHOLE: Final = (PageAnswer, QuickAnswer, WholeAnswer)
ErrandAnswer = PageAnswer | QuickAnswer | WholeAnswer


def json_answer(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> WholeAnswer:
    """Answer with ``body`` as JSON."""
    return WholeAnswer(status, JSON_FIELDS, encode(body), headers=headers)


def error_answer(error: LayerError) -> WholeAnswer:
    """Answer with the contract's error body."""
    return WholeAnswer(error.http_status, (), error_body(error), headers=error_headers(error))


def relayed(
    answer: StoreAnswer,
    *,
    headers: Mapping[str, str] | None = None,
    body: Sequence[bytes | bytearray] = (),
) -> WholeAnswer:
    """Answer with upstream's status, headers and body, byte for byte.

    Args:
        headers: Sent instead of upstream's of the same, lower-case name.
        body: The answer's body in pieces, where they are at hand.
    """
    fields = relayed_fields(tuple(answer.headers))
    if headers:
        replaced = frozenset(name.encode() for name in headers)
        fields = [field for field in fields if field[0] not in replaced]
    return WholeAnswer(answer.status, fields, body or answer.body, headers=headers)


@functools.lru_cache(FIELDS_REMEMBERED_MAX)
def _beginning(status: int, fields: Headers) -> bytes:
    """Return the status line and the lines of some fields; the same come over and over."""
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return line + _checked(lines, len(fields))


def _checked(lines: bytes, count: int) -> bytes:
    """Return ``count`` lines of a head, unless a value would make more of them."""
    if lines.count(b"\n") != count or lines.count(b"\r") != count:
        raise InternalError("ANSWER_INVALID", "A header of the answer holds a line break.")
    return lines


def date_line() -> bytes:
    """Return the line that dates an answer."""
    return _date_line(int(time.time()))


@functools.lru_cache(maxsize=1)
def _date_line(epoch_s: int) -> bytes:
    """Return the line of one second."""
    return b"date: %b\r\n" % formatdate(epoch_s, usegmt=True).encode()
