"""The load: a fixed number of requests over a fixed number of connections, timed one by one.

It shares a core with the upstream, so what it costs itself takes from what a proxy can be given:
requests are encoded once, and of an answer only its first line and its length are looked at.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from layer_bench.peers import Peer

READ_BUFFER_BYTES: Final = 256 * 1024
HEAD_BYTES_MAX: Final = 8 * 1024
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SHARED: Final = memoryview(bytearray(READ_BUFFER_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked, over and over."""

    method: bytes
    target: bytes
    body: bytes = b""
    is_apart: bool = False
    """Whether head and body are sent by two writes, as most clients of HTTP do."""

    def pieces(self, authority: str) -> tuple[bytes, ...]:
        """Return what is written, one after the other."""
        whole = self.encode(authority)
        head_bytes = len(whole) - len(self.body)
        return (whole[:head_bytes], self.body) if self.is_apart else (whole,)

    def encode(self, authority: str) -> bytes:
        """Return the request as it goes on the wire."""
        fields = [
            b"host: " + authority.encode(),
            b"authorization: Bearer bench",
            b"content-type: application/json",
            b"content-length: %d" % len(self.body),
        ]
        line = b"%s %s HTTP/1.1" % (self.method, self.target)
        return b"\r\n".join((line, *fields, b"", self.body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run against one peer."""

    requests_per_s: float
    p50_us: float
    p99_us: float
    max_us: float
    cpu_us: float
    """CPU time of the peer's processes per request."""

    @property
    def tail(self) -> float:
        """How many medians the 99th percentile is."""
        return self.p99_us / self.p50_us


async def measure(peer: Peer, request: Request, *, connections: int, count: int) -> Sample:
    """Send ``count`` requests over ``connections`` connections and time each.

    Raises:
        RuntimeError: When an answer is not 200: a fast refusal is no figure.
    """
    left, seconds = iter(range(count)), list[float]()
    host, _, port = peer.address.rpartition(":")
    pieces = request.pieces(peer.address)
    loop = asyncio.get_running_loop()
    asking = [
        (
            await loop.create_connection(
                lambda: Asking(pieces, left, seconds.append), host, int(port)
            )
        )[1]
        for _ in range(connections)
    ]
    cpu_before, started = cpu_ns(peer.pids), time.perf_counter()
    for one in asking:
        one.start()
    try:
        await asyncio.gather(*(one.ended for one in asking))
    except RuntimeError as error:
        raise RuntimeError(f"{peer.name}: {error}") from error
    finally:
        for one in asking:
            one.close()
    elapsed = time.perf_counter() - started
    percentiles = statistics.quantiles(seconds, n=100)
    return Sample(
        requests_per_s=count / elapsed,
        p50_us=percentiles[49] * 1e6,
        p99_us=percentiles[98] * 1e6,
        max_us=max(seconds) * 1e6,
        cpu_us=(cpu_ns(peer.pids) - cpu_before) / count / 1000,
    )


class Asking(asyncio.BufferedProtocol):
    """One connection that asks again as soon as it is answered, while there is something left.

    Args:
        record: Told how long each answer took, in seconds.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        left: Iterator[int],
        record: Callable[[float], object],
    ) -> None:
        self._pieces = pieces
        self._left = left
        self._record = record
        self._transport: asyncio.Transport | None = None
        self._awaited_bytes = 0
        self._started = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Send the first request."""
        self._ask()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        if self.ended.done() and not self.ended.cancelled():
            self.ended.exception()  # reported once, by whichever connection was first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"closed the connection: {exc}")

    def get_buffer(self, sizehint: int) -> memoryview:
        return _SHARED

    def buffer_updated(self, nbytes: int) -> None:
        if self._awaited_bytes == 0:
            head = bytes(_SHARED[: min(nbytes, HEAD_BYTES_MAX)])
            head_bytes = head.find(b"\r\n\r\n") + 4
            length = _LENGTH.search(head, 0, head_bytes)
            if not head.startswith(b"HTTP/1.1 200 ") or length is None:
                self._fail(f"answered {head[:300]!r}")
                return
            self._awaited_bytes = head_bytes + int(length[1])
        self._awaited_bytes -= nbytes
        if self._awaited_bytes == 0:
            self._record(time.perf_counter() - self._started)
            self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        if next(self._left, None) is None:
            if not self.ended.done():
                self.ended.set_result(None)
            return
        self._started = time.perf_counter()
        for piece in self._pieces:
            self._transport.write(piece)

    def _fail(self, what: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(what))


def cpu_ns(pids: tuple[int, ...]) -> int:
    """Return the CPU time of all threads of some processes, from the scheduler."""
    threads = [thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
