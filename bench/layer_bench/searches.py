"""What running legs together is worth: searches against the same queries one after another."""

from __future__ import annotations

import json
import statistics
from typing import Final

from rich.table import Table

from layer_bench.load import Request, Sample, measure
from layer_bench.peers import Peer

TITLE: Final = "searches and the queries they are made of"
SEARCH_COUNT: Final = 100
WORDS: Final = "quick brown foxes jump over lazy dogs today"
WORDS_COUNT: Final = 8
NAMESPACES_COUNT: Final = 16


async def measured(ours: Peer, round_count: int) -> Table:
    """Measure searches and single queries in turns; the upstream takes 10 ms for each query."""
    table = Table(title=TITLE)
    for heading in ("what", "instead of"):
        table.add_column(heading)
    for heading in ("p50 ms", "instead, ms", "p50 ÷", "CPU µs", "instead, µs", "CPU ÷"):
        table.add_column(heading, justify="right")
    for what, search, legs_count in (
        (f"hybrid text of {WORDS_COUNT} words", _hybrid(), WORDS_COUNT + 1),
        (f"{NAMESPACES_COUNT} namespaces by vector", _federated(), NAMESPACES_COUNT),
    ):
        pairs = [await _pair(ours, search) for _ in range(round_count + 1)][1:]
        table.add_row(what, f"{legs_count} queries, in turn", *_cells(pairs, legs_count))
    return table


async def _pair(ours: Peer, search: Request) -> tuple[Sample, Sample]:
    return (
        await measure(ours, search, connections=1, count=SEARCH_COUNT),
        await measure(ours, _single(), connections=1, count=SEARCH_COUNT),
    )


def _cells(pairs: list[tuple[Sample, Sample]], legs_count: int) -> list[str]:
    cells: list[str] = []
    times = [(ours.p50_us / 1000, legs_count * one.p50_us / 1000) for ours, one in pairs]
    costs = [(ours.cpu_us, legs_count * one.cpu_us) for ours, one in pairs]
    for figures in (times, costs):
        cells += [
            f"{statistics.median(ours for ours, _ in figures):.1f}",
            f"{statistics.median(theirs for _, theirs in figures):.1f}",
            f"{statistics.median(ours / theirs for ours, theirs in figures):.3f}",
        ]
    return cells


def _hybrid() -> Request:
    return _post(b"/v2/namespaces/slow/query", {"rank_by": ["title", "HybridText", WORDS]})


def _federated() -> Request:
    namespaces = [f"slow-{at}" for at in range(NAMESPACES_COUNT)]
    return _post(b"/v2/query", {"vector": [0.5, 1], "namespaces": namespaces})


def _single() -> Request:
    return _post(b"/v2/namespaces/slow/query", {"vector": [0.5, 1]})


def _post(target: bytes, body: object) -> Request:
    return Request(method=b"POST", target=target, body=json.dumps(body).encode())
