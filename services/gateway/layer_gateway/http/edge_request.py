"""A request at the edge: what came, and what its handler notes of it for the metrics."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion, StreamReader, hdrs, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.typedefs import RawHeaders
from multidict import CIMultiDictProxy

if TYPE_CHECKING:
    from layer_gateway.http.protocol import EdgeProtocol


class EdgeRequest(web.BaseRequest):
    """A request of which no more is made than is looked at.

    aiohttp's own constructor asks the socket for its addresses and the URL for its parts, wants a
    writer that only streamed answers use, and keeps what it gives out in a cache beside the object.

    Attributes:
        path_only: The path without its query string, with its escapes.
        shape: Noted of a query: whether it filters, and whether it ranks by an expression.
        written: Noted of a write: its rows and billed bytes.
        fetched_count: Noted of a fetch: its ids.
    """

    __slots__ = (
        "fetched_count",
        "headers",
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

    headers: CIMultiDictProxy[str]
    keep_alive: bool
    method: str
    protocol: EdgeProtocol
    raw_headers: RawHeaders
    raw_path: str
    version: HttpVersion

    @property
    def head_bytes(self) -> int:
        """How long its target and its headers are together."""
        return len(self.raw_path) + len(b"".join(chain.from_iterable(self.raw_headers)))

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: EdgeProtocol,
        task: asyncio.Task[None],
    ) -> None:
        self._message = message
        self._payload = payload
        self._task = task
        self._cache: dict[str, Any] = {}
        self.protocol = self._protocol = protocol
        self.version = message.version
        self.keep_alive = not message.should_close
        self.headers = message.headers
        self.method = message.method
        self.raw_headers = message.raw_headers
        self.raw_path = path = message.path
        self.path_only = path.partition("?")[0] if "?" in path else path
        self.shape: tuple[bool, bool] | None = None
        self.written: tuple[int, int] | None = None
        self.fetched_count: int | None = None

    def __getattr__(self, name: str) -> Any:
        """Make the writer when a streamed answer asks for it."""
        if name != "_payload_writer":
            raise AttributeError(name)
        self._payload_writer = writer = StreamWriter(self.protocol, self._task.get_loop())
        return writer

    @property
    def content_length(self) -> int | None:
        """The value of ``content-length``."""
        length = self.headers.get(hdrs.CONTENT_LENGTH)
        return None if length is None else int(length)

    @property
    def host(self) -> str:
        """What the caller calls this origin."""
        return self.headers.get(hdrs.HOST, "")

    @property
    def scheme(self) -> str:
        return "http" if self.protocol.ssl_context is None else "https"
