"""What the cache is for: fetches against the upstream they spare, and lookups joined to calls."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import CollectorRegistry
from rich.table import Table

from layer.cache.v1 import cache_pb2
from layer_bench.load import measure
from layer_bench.peers import Peer
from layer_bench.scenarios import fetch, slow_query
from layer_gateway.adapters.cache_metrics import CacheMetrics
from layer_gateway.adapters.cached_rows import CachedRows
from layer_gateway.adapters.membership import Membership
from layer_gateway.adapters.settlements import CacheStub
from layer_gateway.ports.rows import CacheLookup
from layer_kit.clock import monotonic
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke, open_channel

TITLE: Final = "fetches and the cache"
FETCH_COUNT: Final = 200
LOOKUP_COUNT: Final = 100
LOOKUP_TIMEOUT_S: Final = 5.0
NAMESPACE: Final = Namespace("slow")


async def measured(ours: Peer, upstream: Peer, round_count: int) -> Table:
    """Measure both against what they replace, in turns."""
    table = Table(title=TITLE)
    for heading in ("what", "instead of"):
        table.add_column(heading)
    for heading in ("ms", "instead, ms", "÷"):
        table.add_column(heading, justify="right")
    table.add_row(
        "cached fetch of 10 documents, p50",
        "a query upstream, which takes 10 ms",
        *_cells([await _fetch_and_query(ours, upstream) for _ in range(round_count + 1)][1:]),
    )
    assert ours.cache_address
    table.add_row(
        f"{LOOKUP_COUNT} single lookups at once",
        "a call to the cache for each",
        *_cells(await _joined_and_apart(ours.cache_address, round_count)),
    )
    return table


async def _fetch_and_query(ours: Peer, upstream: Peer) -> tuple[float, float]:
    fetched = await measure(ours, fetch(b"slow", 10), connections=1, count=FETCH_COUNT)
    queried = await measure(upstream, slow_query(), connections=1, count=FETCH_COUNT // 4)
    return fetched.p50_us / 1000, queried.p50_us / 1000


async def _joined_and_apart(cache_address: str, round_count: int) -> list[tuple[float, float]]:
    """Look up one row a hundred times over, as a hundred callers do: joined, and each alone."""
    channel = open_channel(cache_address, retries=False)
    metrics = CacheMetrics(CollectorRegistry()).of(0)
    stub = CacheStub(channel)
    membership = Membership(stub, monotonic=monotonic, metrics=metrics)
    await membership.keep()
    rows = CachedRows(
        stub,
        membership,
        lookup_timeout_s=LOOKUP_TIMEOUT_S,
        write_timeout_s=5.0,
        metrics=metrics,
        replica=cache_address,
    )
    ids = [b"sdoc-%d" % at for at in range(LOOKUP_COUNT)]

    def joined(id_: bytes) -> Awaitable[CacheLookup]:
        return rows.lookup(NAMESPACE, [id_])

    def apart(id_: bytes) -> Awaitable[cache_pb2.LookupRowsResponse]:
        request = cache_pb2.LookupRowsRequest(namespace=NAMESPACE, ids=[id_])
        return invoke(stub.LookupRows, request, timeout_s=LOOKUP_TIMEOUT_S)

    try:
        return [(await _ms(joined, ids), await _ms(apart, ids)) for _ in range(round_count + 1)][1:]
    finally:
        await membership.close()
        await rows.close()
        await channel.close()


async def _ms(look_up: Callable[[bytes], Awaitable[object]], ids: list[bytes]) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(look_up(id_) for id_ in ids))
    return (time.perf_counter() - started) * 1000


def _cells(pairs: list[tuple[float, float]]) -> list[str]:
    return [
        f"{statistics.median(ours for ours, _ in pairs):.2f}",
        f"{statistics.median(theirs for _, theirs in pairs):.2f}",
        f"{statistics.median(ours / theirs for ours, theirs in pairs):.3f}",
    ]
