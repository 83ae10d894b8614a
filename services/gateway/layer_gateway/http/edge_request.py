"""A request at the edge: what came, and what its handler notes of it for the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.typedefs import RawHeaders
from multidict import CIMultiDict, CIMultiDictProxy

from layer_gateway.http.heads import Head, head_of, text_of

if TYPE_CHECKING:
    from layer_gateway.http.protocol import EdgeProtocol


class EdgeRequest(web.BaseRequest):
    """A request of which no more is made than is looked at.

    aiohttp's own constructor asks the socket for its addresses and the URL for its parts, wants a
    writer that only streamed answers use, and keeps what it gives out in a cache beside the object.

    Attributes:
        head: What came before the body; requests may share it.
        received: What the whole body is in, from ``body_start`` to its end; None while more of it
            is to come.
        content_length: How long the body is; None where that was not told.
        shape: Noted of a query: whether it filters, and whether it ranks by an expression.
        written: Noted of a write: its rows and billed bytes.
        identifier: The request id, where it was needed before the request was asked of anyone.
        fetched: Noted of a fetch: how many ids it names, and what the cache had of them, if known.
    """

    __slots__ = (
        "body_start",
        "content_length",
        "head",
        "protocol",
        "received",
    )

    content_length: int | None
    protocol: EdgeProtocol
    confined_to: Sequence[str] = ()
    """Patterns of the only namespaces that the caller may name; none is all of them, as usual."""
    identifier: str = ""
    shape: tuple[bool, bool] | None = None
    written: tuple[int, int] | None = None
    fetched: tuple[int, str | None] | None = None

    def __init__(  # noqa: PLR0917 -- one is made for each request, and names take time
        self,
        head: Head,
        received: bytes | None,
        body_start: int,
        content_length: int | None,
        payload: StreamReader,
        protocol: EdgeProtocol,
    ) -> None:
        self.head = head
        self.received = received
        self.body_start = body_start
        self.content_length = content_length
        self.protocol = self._protocol = protocol
        self._payload = payload
        self._cache: dict[str, Any] = {}

    @classmethod
    def of(
        cls, message: RawRequestMessage, payload: StreamReader, protocol: EdgeProtocol
    ) -> EdgeRequest:
        """Return a request that aiohttp's parser has read."""
        head = head_of(message)
        length = head.fields.get("content-length")
        body = payload.read_nowait() if payload.is_eof() else None
        return cls(head, body, 0, None if length is None else int(length), payload, protocol)

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def raw_path(self) -> str:
        return self.head.path

    @property
    def raw_headers(self) -> RawHeaders:
        return self.head.raw_headers

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """All of them, made anew each time: few handlers ask, and once."""
        fields = [(text_of(name), text_of(value)) for name, value in self.head.raw_headers]
        return CIMultiDictProxy(CIMultiDict(fields))

    @property
    def version(self) -> HttpVersion:
        return self.head.version

    @property
    def keep_alive(self) -> bool:
        return self.head.can_keep_alive

    def field(self, name: str) -> str | None:
        """Return the first value of a field by its name in lower case."""
        return self.head.fields.get(name)

    def open_writer(self, writer: AbstractStreamWriter | None = None) -> None:
        """Have something that a streamed answer can be written to."""
        self._payload_writer = writer or StreamWriter(self.protocol, asyncio.get_running_loop())

    @property
    def body_at_hand(self) -> bytes | None:
        """The whole body, empty where there is none; None while more of it is to come."""
        if self.received and self.body_start:
            self.received, self.body_start = self.received[self.body_start :], 0
        return self.received

    @property
    def body_exists(self) -> bool:
        """Whether there is a body, or more of one to come."""
        return self.body_at_hand != b""

    async def read(self) -> bytes:
        """Refuse: bodies are read within their bounds, by ``http/bodies.py``."""
        raise NotImplementedError
