"""`python -m layer_bench`: measure the gateway against nginx, round by round."""

from __future__ import annotations

import argparse
import os
import random
import socket
import statistics
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from layer_bench.load import Request, Sample, measure
from layer_bench.peers import PROXY_CORE, Peer, gateway, nginx, nginx_binary
from layer_testing.processes import running

QUERY_BODY: Final = b'{"rank_by":["text","BM25","quick brown fox"],"limit":10}'
WARM_UP_COUNT: Final = 200
MISSING_NGINX: Final = "nginx is not installed: ratios are left out (apt-get install nginx-light)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One line of the table."""

    name: str
    ours: Request
    theirs: Request
    connections: int
    count: int


def scenarios(count: int) -> list[Scenario]:
    """Return what is measured; ``count`` requests a round for the cheap ones."""
    small = Request(method=b"POST", target=b"/v2/namespaces/small/query", body=QUERY_BODY)
    large = Request(method=b"POST", target=b"/v2/namespaces/large/query", body=QUERY_BODY)
    fetch = Request(method=b"GET", target=b"/v2/namespaces/small/documents/doc-1")
    found = []
    for connections in (1, 32):
        for name, request, share in (
            ("pass-through query, 2 KB", small, 1.0),
            ("pass-through query, 220 KB", large, 0.2),
            ("fetch hit", fetch, 1.0),
        ):
            found.append(
                Scenario(
                    name=f"{name}, {connections} connection{'s' if connections > 1 else ''}",
                    ours=request,
                    theirs=request,
                    connections=connections,
                    count=int(count * share),
                )
            )
    return found


async def run(rounds: int, count: int) -> None:
    """Start the peers, take turns, print the table."""
    console = Console()
    async with AsyncExitStack() as stack:
        stub = await stack.enter_async_context(running("layer_bench.stub"))
        upstream = stub.addresses["http"]
        peers = [await stack.enter_async_context(gateway(upstream, with_cache=True))]
        if nginx_binary() is None:
            console.print(MISSING_NGINX)
        else:
            peers.append(await stack.enter_async_context(nginx(upstream, _free_port())))
        _keep_off(PROXY_CORE, stub.pid)
        table = _table()
        for scenario in scenarios(count):
            samples = await _rounds(scenario, peers, rounds)
            for cells in _lines(scenario, samples):
                table.add_row(*cells)
        console.print(table)


async def _rounds(scenario: Scenario, peers: list[Peer], rounds: int) -> dict[str, list[Sample]]:
    """Let the peers take turns in random order; the first round only warms up."""
    rng = random.Random(1)  # noqa: S311 -- an order, not a secret
    samples: dict[str, list[Sample]] = {peer.name: [] for peer in peers}
    for at in range(rounds + 1):
        for peer in rng.sample(peers, len(peers)):
            request = scenario.ours if peer.name == "gateway" else scenario.theirs
            sample = await measure(
                peer,
                request,
                connections=scenario.connections,
                count=WARM_UP_COUNT if at == 0 else scenario.count,
            )
            if at:
                samples[peer.name].append(sample)
    return samples


def _lines(scenario: Scenario, samples: dict[str, list[Sample]]) -> list[list[str]]:
    lines = []
    peer = samples.get("nginx")
    for name, taken in samples.items():
        ratio = ["", "", ""]
        if peer is not None and name != "nginx":
            pairs = list(zip(taken, peer, strict=True))
            ratio = [
                f"{statistics.median(a.requests_per_s / b.requests_per_s for a, b in pairs):.2f}",
                f"{statistics.median(a.p50_us / b.p50_us for a, b in pairs):.2f}",
                f"{statistics.median(a.cpu_us / b.cpu_us for a, b in pairs):.2f}",
            ]
        lines.append(
            [
                scenario.name,
                name,
                f"{statistics.median(s.requests_per_s for s in taken):,.0f}",
                f"{statistics.median(s.p50_us for s in taken):,.0f}",
                f"{statistics.median(s.p99_us for s in taken):,.0f}",
                f"{statistics.median(s.cpu_us for s in taken):,.1f}",
                *ratio,
            ]
        )
    return lines


def _table() -> Table:
    table = Table(title="layer gateway against nginx as a reverse proxy, same upstream, same run")
    for heading in ("scenario", "peer"):
        table.add_column(heading)
    for heading in ("requests/s", "p50 µs", "p99 µs", "CPU µs", "req/s ÷", "p50 ÷", "CPU ÷"):
        table.add_column(heading, justify="right")
    return table


def _keep_off(core: int, pid: int) -> None:
    """Leave ``core`` to the proxies, where there is another one."""
    others = os.sched_getaffinity(0) - {core}
    if others:
        os.sched_setaffinity(0, others)
        os.sched_setaffinity(pid, others)


def _free_port() -> int:
    """Return a port for nginx, which cannot tell which one it was given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default 5)")
    parser.add_argument("--count", type=int, default=3000, help="requests a round (default 3000)")
    options = parser.parse_args()
    uvloop.run(run(options.rounds, options.count))


if __name__ == "__main__":
    main()
