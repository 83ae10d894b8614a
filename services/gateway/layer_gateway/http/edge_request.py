"""A request at the edge: what came, and what its handler notes of it for the metrics."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from aiohttp import HttpVersion, StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.typedefs import RawHeaders
from multidict import CIMultiDictProxy

from layer_gateway.http.plain_reader import PlainHead

if TYPE_CHECKING:
    from layer_gateway.http.protocol import EdgeProtocol


class EdgeRequest(web.BaseRequest):
    """A request of which no more is made than is looked at.

    aiohttp's own constructor asks the socket for its addresses and the URL for its parts, wants a
    writer that only streamed answers use, and keeps what it gives out in a cache beside the object.

    Attributes:
        body_at_hand: The whole body, empty where there is none; None while more of it is to come.
        fields: First values by name in lower case.
        head_bytes: How long its target and its headers are together.
        path_only: The path without its query string, with its escapes.
        shape: Noted of a query: whether it filters, and whether it ranks by an expression.
        written: Noted of a write: its rows and billed bytes.
        fetched_count: Noted of a fetch: its ids.
    """

    __slots__ = (
        "body_at_hand",
        "fetched_count",
        "fields",
        "head_bytes",
        "keep_alive",
        "method",
        "path_only",
        "protocol",
        "raw_headers",
        "raw_path",
        "shape",
        "version",
        "written",
    )

    keep_alive: bool
    method: str
    protocol: EdgeProtocol
    raw_headers: RawHeaders
    raw_path: str
    version: HttpVersion

    def __init__(
        self,
        message: RawRequestMessage | PlainHead,
        payload: StreamReader,
        protocol: EdgeProtocol,
        task: asyncio.Task[None],
    ) -> None:
        self._message = cast("RawRequestMessage", message)
        self._payload = payload
        self._task = task
        self._cache: dict[str, Any] = {}
        self.protocol = self._protocol = protocol
        self.version = message.version
        self.keep_alive = not message.should_close
        self.method = message.method
        self.raw_headers = message.raw_headers
        self.raw_path = path = message.path
        self.path_only = path.partition("?")[0] if "?" in path else path
        self.shape: tuple[bool, bool] | None = None
        self.written: tuple[int, int] | None = None
        self.fetched_count: int | None = None
        if isinstance(message, PlainHead):
            self.fields = message.fields
            self.head_bytes = message.head_bytes
            self.body_at_hand = None if message.missing_bytes else message.body
        else:
            self.fields = {name.lower(): value for name, value in reversed(message.raw_headers)}
            self.head_bytes = len(path) + len(b"".join(chain.from_iterable(self.raw_headers)))
            self.body_at_hand = payload.read_nowait() if payload.is_eof() else None

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._message.headers

    def field(self, name: str) -> str | None:
        """Return the first value of a field by its name in lower case."""
        value = self.fields.get(name.encode())
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def open_writer(self, writer: AbstractStreamWriter | None = None) -> None:
        """Have something that a streamed answer can be written to."""
        self._payload_writer = writer or StreamWriter(self.protocol, self._task.get_loop())

    @property
    def body_exists(self) -> bool:
        """Whether there is a body, or more of one to come."""
        return self.body_at_hand != b""

    async def read(self) -> bytes:
        """Refuse: bodies are read within their bounds, by ``http/bodies.py``."""
        raise NotImplementedError

    @property
    def content_length(self) -> int | None:
        """The value of ``content-length``."""
        length = self.fields.get(b"content-length")
        return None if length is None else int(length)

    @property
    def host(self) -> str:
        """What the caller calls this origin."""
        return self.field("host") or ""

    @property
    def scheme(self) -> str:
        return "http" if self.protocol.ssl_context is None else "https"
