"""The proxies' table: the gateway against nginx and Starlette, round by round."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from rich.table import Table

from layer_bench.load import Sample, measure
from layer_bench.peers import Peer
from layer_bench.scenarios import Scenario

WARM_UP_COUNT: Final = 200
STARLETTE: Final = "starlette"
STARLETTE_SHARE: Final = 0.1
HEADINGS: Final = (
    "requests/s",
    "p50 µs",
    "p99 µs",
    "CPU µs",
    "req/s ÷",
    "p50 ÷",
    "added ÷",
    "tail ÷",
    "CPU ÷",
)

ADDED: Final = 2
DIRECT: Final = "direct"
"""The upstream itself, asked without a proxy."""

Samples = dict[str, list[Sample]]
_RATIOS: Final[tuple[Callable[[Sample, Sample, Sample], float], ...]] = (
    lambda ours, peer, _: ours.requests_per_s / peer.requests_per_s,
    lambda ours, peer, _: ours.p50_us / peer.p50_us,
    lambda ours, peer, direct: (ours.p50_us - direct.p50_us) / (peer.p50_us - direct.p50_us),
    lambda ours, peer, _: ours.tail / peer.tail,
    lambda ours, peer, _: ours.cpu_us / peer.cpu_us,
)
"""Of the gateway to a peer; the one at ``ADDED`` is of what each adds to the upstream itself."""


def new_table() -> Table:
    """Return the table without its lines."""
    table = Table(title="layer gateway against other proxies, same upstream, same run")
    for heading in ("scenario", "peer"):
        table.add_column(heading)
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    return table


async def rounds(scenario: Scenario, peers: Sequence[Peer], count: int) -> Samples:
    """Let the peers take turns in random order; the first round only warms up."""
    rng = random.Random(1)  # noqa: S311 -- an order, not a secret
    taking_part = [peer for peer in peers if scenario.has_starlette or peer.name != STARLETTE]
    samples: Samples = {peer.name: [] for peer in taking_part}
    for at in range(count + 1):
        for peer in rng.sample(taking_part, len(taking_part)):
            asked = _count(scenario, peer)
            sample = await measure(
                peer,
                scenario.request,
                connections=scenario.connections,
                count=asked if at else min(WARM_UP_COUNT, asked),
            )
            if at:
                samples[peer.name].append(sample)
    return samples


def lines(scenario: Scenario, samples: Samples) -> Iterable[list[str]]:
    """Yield a line for each peer; ratios are the gateway's figures over the peer's."""
    ours, direct = samples["gateway"], samples.pop(DIRECT)
    for name, taken in samples.items():
        figures = [
            f"{statistics.median(sample.requests_per_s for sample in taken):,.0f}",
            f"{statistics.median(sample.p50_us for sample in taken):,.0f}",
            f"{statistics.median(sample.p99_us for sample in taken):,.0f}",
            f"{statistics.median(sample.cpu_us for sample in taken):,.1f}",
        ]
        if taken is ours:
            yield [scenario.title, name, *figures]
        else:
            rounds_ = list(zip(ours, taken, direct, strict=True))
            ratios = [f"{statistics.median(of(*one) for one in rounds_):.2f}" for of in _RATIOS]
            if scenario.connections > 1:
                ratios[ADDED] = ""  # they wait for each other, not for a proxy
            yield [scenario.title, name, *figures, *ratios]


def _count(scenario: Scenario, peer: Peer) -> int:
    if peer.name != STARLETTE:
        return scenario.count
    return max(scenario.connections, int(scenario.count * STARLETTE_SHARE))
