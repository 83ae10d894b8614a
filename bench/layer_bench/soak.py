"""`python -m layer_bench.soak`: mixed traffic for a while, and how much memory it takes.

Ends with one write about as large as a body may be, and what that took at its highest.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from pathlib import Path
from typing import Final

import uvloop

from layer_bench.load import Request, measure
from layer_bench.peers import Peer, gateway
from layer_bench.scenarios import (
    base64_write,
    base64_write_of,
    fetch,
    filtered_query,
    large_query,
    small_query,
)
from layer_testing.processes import running

LINE_INTERVAL_S: Final = 30.0
PAUSE_S: Final = 0.2
CONNECTIONS: Final = 16
MIB: Final = 1024 * 1024
RELEASE_S: Final = 5.0
"""By then memory has been given back."""

LARGEST_WRITE_MIB: Final = 510
"""Of the 512 that a body may have."""

MIXED: Final[tuple[tuple[Request, int], ...]] = (
    (small_query(), 400),
    (filtered_query(), 200),
    (large_query(), 60),
    (fetch(b"documents", 10), 200),
    (base64_write(), 2),
)
"""What a turn asks, and how often."""


async def soak(minutes: float) -> None:
    """Keep a gateway and its cache busy; print a line about their memory now and then."""
    async with (
        running("layer_bench.stub") as stub,
        gateway(stub.addresses["http"], with_cache=True) as peer,
    ):
        print("minute  requests  gateway MiB, lowest  highest  cache MiB, lowest  highest")
        started = reported = time.monotonic()
        total = 0
        seen: list[tuple[float, float]] = []
        for turn in itertools.count():
            request, count = MIXED[turn % len(MIXED)]
            await measure(peer, request, connections=min(CONNECTIONS, count), count=count)
            total += count
            await asyncio.sleep(PAUSE_S)
            seen.append(_resident_mib(peer))
            now = time.monotonic()
            is_over = now - started > minutes * 60
            if not turn or is_over or now - reported >= LINE_INTERVAL_S:
                reported = now
                print(_line(seen, (now - started) / 60, total), flush=True)
                seen.clear()
            if is_over:
                break
        await _largest_write(peer)


async def _largest_write(peer: Peer) -> None:
    """Send one write as large as may be; print what it took at its highest, and what stayed."""
    gateway_pid = peer.pids[0]
    before = _memory_mib(gateway_pid, "VmRSS")
    _forget_highest(gateway_pid)
    request = base64_write_of(LARGEST_WRITE_MIB * MIB)
    await measure(peer, request, connections=1, count=2)
    highest = _memory_mib(gateway_pid, "VmHWM")
    await asyncio.sleep(RELEASE_S)
    after = _memory_mib(gateway_pid, "VmRSS")
    print(
        f"writes of {len(request.body) / MIB:.0f} MiB, gateway MiB: "
        f"{before:.0f} before, {highest:.0f} at most, {after:.0f} after"
    )


def _resident_mib(peer: Peer) -> tuple[float, float]:
    """Return what the gateway and the cache hold now."""
    gateway_pid, cache_pid = peer.pids
    return _memory_mib(gateway_pid, "VmRSS"), _memory_mib(cache_pid, "VmRSS")


def _line(seen: list[tuple[float, float]], minutes: float, total: int) -> str:
    """Tell what was held at least, and at most, since the line before."""
    lowest, highest = (tuple(map(pick, zip(*seen, strict=True))) for pick in (min, max))
    return (
        f"{minutes:6.1f}  {total:8d}  {lowest[0]:19.0f}  {highest[0]:7.0f}"
        f"  {lowest[1]:17.0f}  {highest[1]:7.0f}"
    )


def _forget_highest(pid: int) -> None:
    """Have the system measure ``VmHWM`` anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def _memory_mib(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m layer_bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    uvloop.run(soak(parser.parse_args().minutes))


if __name__ == "__main__":
    main()
