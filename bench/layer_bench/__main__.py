"""`python -m layer_bench`: measure the gateway against its peers, and print the tables."""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import AsyncExitStack
from typing import Final

import uvloop

from layer_bench import fetches, in_process, neighbours, proxies, searches
from layer_bench.peers import PROXY_CORE, Peer, gateway, nginx, nginx_binary, starlette
from layer_bench.printing import say, show
from layer_bench.scenarios import scenarios
from layer_testing.processes import running

MISSING_NGINX: Final = (
    "nginx is not installed: its lines are left out (apt-get install nginx-light)"
)


async def run(round_count: int, count: int, only: str) -> None:
    """Start the peers, take turns, print the tables whose lines hold ``only``."""
    async with AsyncExitStack() as stack:
        stub = await stack.enter_async_context(running("layer_bench.stub"))
        upstream = stub.addresses["http"]
        _keep_off(PROXY_CORE, stub.pid)
        ours = await stack.enter_async_context(gateway(upstream, with_cache=True))
        direct = Peer(name=proxies.DIRECT, address=upstream, pids=(stub.pid,))
        peers = [ours, direct, await stack.enter_async_context(starlette(upstream))]
        if nginx_binary() is None:
            say(MISSING_NGINX)
        else:
            peers.append(await stack.enter_async_context(nginx(upstream, _free_port())))
        table = proxies.new_table()
        for scenario in scenarios(count):
            if only in scenario.title:
                for cells in proxies.lines(
                    scenario, await proxies.rounds(scenario, peers, round_count)
                ):
                    table.add_row(*cells)
        if table.row_count:
            show(table)
        if only in fetches.TITLE:
            show(await fetches.measured(ours, direct, round_count))
        if only in searches.TITLE:
            show(await searches.measured(ours, round_count))
        if only in neighbours.TITLE:
            show(await neighbours.measured(ours, round_count))
    if only in in_process.TITLE:
        show(in_process.measured(round_count))


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
    parser.add_argument("--only", default="", help="only what has this in its title")
    options = parser.parse_args()
    uvloop.run(run(options.rounds, options.count, options.only))


if __name__ == "__main__":
    main()
