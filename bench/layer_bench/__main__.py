"""`python -m layer_bench`: measure the gateway against nginx, round by round."""

from __future__ import annotations

import argparse
import os
import random
import socket
import statistics
from contextlib import AsyncExitStack
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table

from layer_bench.in_process import Stamping, measure_stamping
from layer_bench.load import Sample, measure
from layer_bench.peers import PROXY_CORE, Peer, gateway, nginx, nginx_binary
from layer_bench.scenarios import Scenario, scenarios
from layer_testing.processes import running

WARM_UP_COUNT: Final = 200
MISSING_NGINX: Final = "nginx is not installed: ratios are left out (apt-get install nginx-light)"


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
    console.print(_stamping_table(measure_stamping(rounds)))


async def _rounds(scenario: Scenario, peers: list[Peer], rounds: int) -> dict[str, list[Sample]]:
    """Let the peers take turns in random order; the first round only warms up."""
    rng = random.Random(1)  # noqa: S311 -- an order, not a secret
    samples: dict[str, list[Sample]] = {peer.name: [] for peer in peers}
    for at in range(rounds + 1):
        for peer in rng.sample(peers, len(peers)):
            count = min(WARM_UP_COUNT, scenario.count) if at == 0 else scenario.count
            sample = await measure(
                peer, scenario.request, connections=scenario.connections, count=count
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
                scenario.title,
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


def _stamping_table(measured: list[Stamping]) -> Table:
    table = Table(title="stamping a write, against a bare msgspec round trip of its body")
    table.add_column("write")
    for heading in ("MB", "stamped, CPU ms", "round trip, CPU ms", "CPU ÷"):
        table.add_column(heading, justify="right")
    for line in measured:
        table.add_row(
            line.name,
            f"{line.body_bytes / 1e6:.1f}",
            f"{line.stamped_ms:.1f}",
            f"{line.round_trip_ms:.1f}",
            f"{line.ratio:.2f}",
        )
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
