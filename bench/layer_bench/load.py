"""The load: a fixed number of requests over a fixed number of connections, timed one by one."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layer_bench.peers import Peer
from layer_upstream import UpstreamClient, UpstreamLimits

AUTHORIZATION: Final = (b"authorization", b"Bearer bench")
JSON_TYPE: Final = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked, over and over."""

    method: bytes
    target: bytes
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run against one peer."""

    requests_per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float
    """CPU time of the peer's processes per request."""


async def measure(peer: Peer, request: Request, *, connections: int, count: int) -> Sample:
    """Send ``count`` requests over ``connections`` connections and time each.

    Raises:
        RuntimeError: When an answer is not 200: a fast refusal is no figure.
    """
    limits = UpstreamLimits(connections_max=connections, waiters_max=connections)
    client = UpstreamClient(f"http://{peer.address}", limits)
    left = iter(range(count))
    seconds: list[float] = []

    async def ask() -> None:
        for _ in left:
            started = time.perf_counter()
            answer = await client.request(
                request.method, request.target, (AUTHORIZATION, JSON_TYPE), request.body
            )
            seconds.append(time.perf_counter() - started)
            if answer.status != 200:  # noqa: PLR2004 -- OK
                raise RuntimeError(f"{peer.name} answered {answer.status}: {answer.body[:200]!r}")

    cpu_before, started = _cpu_ns(peer), time.perf_counter()
    try:
        await asyncio.gather(*(ask() for _ in range(connections)))
    finally:
        await client.aclose()
    elapsed = time.perf_counter() - started
    percentiles = statistics.quantiles(seconds, n=100)
    return Sample(
        requests_per_s=count / elapsed,
        p50_us=percentiles[49] * 1e6,
        p99_us=percentiles[98] * 1e6,
        cpu_us=(_cpu_ns(peer) - cpu_before) / count / 1000,
    )


def _cpu_ns(peer: Peer) -> int:
    """Return the CPU time of all threads of the peer, in nanoseconds, from the scheduler."""
    threads = [thread for pid in peer.pids for thread in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)
