"""Calls of an HTTP edge as bytes on a socket: what no client library would send, a test can."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, Final, TypeVar, cast

CALL_S_MAX: Final = 20.0
POLL_INTERVAL_S: Final = 0.02

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeAnswer:
    """An answer as it was received, its transfer coding removed."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order received."""
    body: bytes

    def __getitem__(self, name: str) -> str:
        """Return the first header of this name, in lower case."""
        return next(value for key, value in self.headers if key == name)

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.headers)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class EdgeCaller:
    """Sends each request on a connection of its own.

    Args:
        address: ``host:port`` of the edge.
        key: Sent as bearer, unless it is empty or the test sets the header itself.
    """

    def __init__(self, address: str, *, key: str) -> None:
        self.address = address
        self._key = key

    async def __call__(
        self,
        method: str,
        target: str | bytes,
        body: object = b"",
        headers: Mapping[str, str | bytes] | None = None,
    ) -> EdgeAnswer:
        """Send a request and return its answer.

        Args:
            body: Bytes as they are; anything else as JSON, with the content type for it.
            headers: Besides ``host``, ``content-length`` and the bearer; they override.
        """
        return await self.send(self.request(method, target, body, headers), method=method)

    def request(
        self,
        method: str,
        target: str | bytes,
        body: object = b"",
        headers: Mapping[str, str | bytes] | None = None,
    ) -> bytes:
        """Return the bytes of a request that asks for the connection to be closed after it."""
        fields: dict[str, str | bytes] = {"host": "edge.test", "connection": "close"}
        if self._key:
            fields["authorization"] = f"Bearer {self._key}"
        if not isinstance(body, bytes):
            fields["content-type"] = "application/json"
            body = json.dumps(body).encode()
        if body:
            fields["content-length"] = str(len(body))
        fields |= headers or {}
        lines = [method.encode() + b" " + _bytes(target) + b" HTTP/1.1"]
        lines += [name.encode() + b": " + _bytes(value) for name, value in fields.items()]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    async def send(self, request: bytes, *, method: str = "GET") -> EdgeAnswer:
        """Send bytes and read until the edge closes the connection."""
        async with asyncio.timeout(CALL_S_MAX):
            reader, writer = await self.connect()
            try:
                writer.write(request)
                received = await reader.read(-1)
            finally:
                writer.close()
        return parse_answer(received, method=method)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection for a test that talks in its own time."""
        host, _, port = self.address.rpartition(":")
        return await asyncio.open_connection(host, int(port))


async def eventually(condition: Callable[[], Awaitable[T | None]]) -> T:
    """Ask until ``condition`` gives something truthy, and return that.

    Raises:
        TimeoutError: After ``CALL_S_MAX`` seconds.
    """
    async with asyncio.timeout(CALL_S_MAX):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(POLL_INTERVAL_S)


def parse_answer(received: bytes, *, method: str = "GET") -> EdgeAnswer:
    """Parse the final answer out of all that a connection received.

    Raises:
        http.client.HTTPException: When it is cut off or no HTTP.
    """
    response = HTTPResponse(cast("Any", _Received(received)), method=method)
    response.begin()
    body = response.read()
    headers = tuple((name.lower(), value) for name, value in response.getheaders())
    return EdgeAnswer(status=response.status, headers=headers, body=body)


class _Received:
    """As much of a socket as the standard library's parser asks for."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
