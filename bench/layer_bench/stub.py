"""The upstream of the benchmarks: answers at once, from memory, on a raw protocol.

Run as ``python -m layer_bench.stub``; prints ``listening {"http": …}``. Every query answers the
same bytes, sized by the path: ``/v2/namespaces/large/query`` about 220 KB, others about 2 KB. A
namespace whose name begins with ``slow`` takes 10 ms, as a near store does.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from typing import Final, cast

import httptools
import uvloop

ROWS_SMALL: Final = 10
ROWS_LARGE: Final = 100
DIMENSIONS: Final = 256
DOCUMENT_IDS: Final = 128
SLOW_S: Final = 0.01
SCHEMA: Final = b'{"id":{"type":"string"},"title":{"type":"string"}}'


def _rows(count: int, *, with_vectors: bool) -> bytes:
    rng = random.Random(7)  # noqa: S311 -- the same bytes in every run
    rows: list[dict[str, object]] = []
    for at in range(count):
        row: dict[str, object] = {"id": f"doc-{at}", "$dist": at / 100, "title": "x" * 150}
        if with_vectors:
            row["embedding"] = [round(rng.random(), 6) for _ in range(DIMENSIONS)]
        rows.append(row)
    return json.dumps({"rows": rows, "performance": {}}).encode()


def _response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


SMALL: Final = _response(_rows(ROWS_SMALL, with_vectors=False))
LARGE: Final = _response(_rows(ROWS_LARGE, with_vectors=True))
DOCUMENTS: Final = _response(_rows(DOCUMENT_IDS, with_vectors=False))
SCHEMA_RESPONSE: Final = _response(SCHEMA)


class StubProtocol(asyncio.Protocol):
    """One connection; requests are answered in the order they complete."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_message_complete(self) -> None:
        if b"/schema" in self._url:
            self._transport.write(SCHEMA_RESPONSE)
        elif b"/large/" in self._url:
            self._transport.write(LARGE)
        elif b"/documents" in self._url and self._parser.get_method() == b"POST":
            self._transport.write(DOCUMENTS)
        elif b"/slow" in self._url:
            asyncio.get_running_loop().call_later(SLOW_S, self._transport.write, SMALL)
        else:
            self._transport.write(SMALL)


async def main() -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(StubProtocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f'listening {{"http": "127.0.0.1:{port}"}}', flush=True)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(main())
