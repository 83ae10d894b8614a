"""A store that answers what a test tells it to and remembers what it was asked, byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

HEAD_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """A request as it came."""

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition(b"?")[0].decode("latin-1")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: bytes) -> bytes | None:
        """Return the only header of this name; None when there is none."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, f"{name!r} was sent {len(values)} times"
        return values[0] if values else None


@dataclass(slots=True, kw_only=True)
class Exchange:
    """The store's side of one request: for a script that does more than answer.

    Attributes:
        is_kept: Set by a script after which the connection serves further requests.
    """

    request: StoreRequest
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_kept: bool = False

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def wait_closed(self) -> None:
        """Wait until the other side closes the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Exchange], Awaitable[None]]
"""Answers one request; afterwards the connection is closed, unless it is to be kept."""


def answer(body: object = b"", status: int = 200, **headers: str) -> bytes:
    """Return an HTTP answer; a body that is not bytes is sent as JSON."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
        fields = {"content-type": "application/json"} | fields
    fields["content-length"] = str(len(body))
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{key}: {value}" for key, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass(slots=True)
class ScriptedStore:
    """Answers by ``"METHOD path"``; what it was not told about is a 404."""

    url: str = ""
    answers: dict[str, bytes | Script] = field(default_factory=dict)
    requests: list[StoreRequest] = field(default_factory=list)
    connections_count: int = 0

    def asked(self, route: str) -> list[StoreRequest]:
        """Return the requests of ``"METHOD path"``, in the order they came."""
        return [one for one in self.requests if f"{one.method} {one.path}" == route]

    def namespace(self, name: str, *, rows: tuple[object, ...] = (), **types: str) -> None:
        """Serve a namespace that accepts every write and answers every query with ``rows``.

        Args:
            types: Attribute types; ``id`` is a string unless said otherwise.
        """
        schema = {"id": "string"} | types
        written = {"status": "OK", "message": "", "rows_affected": 1, "billing": {}}
        self.answers[f"GET /v1/namespaces/{name}/schema"] = answer(schema)
        self.answers[f"POST /v2/namespaces/{name}/query"] = answer({"rows": rows})
        self.answers[f"POST /v2/namespaces/{name}"] = answer(written)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until a script has had it or its peer closes it."""
        self.connections_count += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                request = await _read(reader)
                self.requests.append(request)
                told = self.answers.get(f"{request.method} {request.path}")
                if callable(told):
                    exchange = Exchange(request=request, reader=reader, writer=writer)
                    await told(exchange)
                    if exchange.is_kept:
                        continue
                    break
                unknown = answer({"error": f"nothing at {request.path}"}, 404)
                writer.write(told if told is not None else unknown)
                await writer.drain()
        writer.close()


async def _read(reader: asyncio.StreamReader) -> StoreRequest:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    method, target, _ = first.split(b" ")
    headers = tuple((name, value.strip()) for name, _, value in (x.partition(b":") for x in lines))
    length = next((int(value) for name, value in headers if name == b"content-length"), 0)
    body = await reader.readexactly(length)
    return StoreRequest(method=method.decode(), target=target, headers=headers, body=body)


@asynccontextmanager
async def scripted_store() -> AsyncIterator[ScriptedStore]:
    """Serve a :class:`ScriptedStore` for the length of the block."""
    store = ScriptedStore()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await store.serve(reader, writer)
        finally:
            writer.transport.abort() if task.cancelling() else None
            tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
    store.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield store
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
