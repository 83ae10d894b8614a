"""The cache as the gateway's use cases see it, over none, one or several replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc.aio
from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2_grpc
from layer_gateway.adapters.cache_metrics import CacheMetrics
from layer_gateway.adapters.cached_rows import CachedRows
from layer_gateway.adapters.cached_scans import CachedScansClient
from layer_gateway.adapters.membership import Membership
from layer_gateway.adapters.no_cache import NoCache
from layer_gateway.adapters.replicated_rows import Replica, ReplicatedRows, Ring
from layer_gateway.adapters.settlements import CacheStub
from layer_gateway.adapters.warmth import NoWarmth, RecordsClient, WarmthClient
from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.scanning import CachedScans
from layer_gateway.ports.warmth import CacheWarmth, RecordCache
from layer_kit.clock import Monotonic
from layer_kit.rpc.client import open_channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """What there is of the cache. Made by :func:`open_caches`."""

    rows: RowCache
    warmth: CacheWarmth
    records: RecordCache
    scans: CachedScans
    memberships: Sequence[Membership] = ()
    ways: Sequence[CachedRows] = ()
    """One to each replica."""

    async def aclose(self) -> None:
        """Leave every replica cleanly; the channels are still open then."""
        await asyncio.gather(*(membership.close() for membership in self.memberships))
        await asyncio.gather(*(way.close() for way in self.ways))


async def open_caches(
    addresses: Sequence[str],
    *,
    lookup_timeout_s: float,
    write_timeout_s: float,
    monotonic: Monotonic,
    registry: CollectorRegistry,
) -> tuple[Caches, Sequence[grpc.aio.Channel]]:
    """Join the replicas at ``addresses``; return them as one, and the channels to close.

    Those that are away are joined when their membership is next kept.
    """
    # A read has somewhere better to go than a second attempt, and a fence must not be doubled.
    channels = {address: open_channel(address, retries=False) for address in addresses}
    if not channels:
        none = Caches(
            rows=NoCache(),
            warmth=NoWarmth(),
            records=RecordsClient({}),
            scans=CachedScansClient(()),
        )
        return none, ()
    metrics = CacheMetrics(registry)
    ways: dict[str, CachedRows] = {}
    ring = Ring(list(channels)).fingerprint if len(channels) > 1 else b""
    memberships = []
    for number, (address, channel) in enumerate(channels.items()):
        stub = CacheStub(channel)
        membership = Membership(stub, monotonic=monotonic, metrics=metrics.of(number), ring=ring)
        memberships.append(membership)
        ways[address] = CachedRows(
            stub,
            membership,
            lookup_timeout_s=lookup_timeout_s,
            write_timeout_s=write_timeout_s,
            metrics=metrics.of(number),
            replica=address,
        )
    await asyncio.gather(*(membership.keep() for membership in memberships))
    caches = Caches(
        rows=_as_one(ways),
        warmth=WarmthClient(list(map(cache_pb2_grpc.WarmthServiceStub, channels.values()))),
        records=RecordsClient(
            {
                address: cache_pb2_grpc.RecordServiceStub(channel)
                for address, channel in channels.items()
            }
        ),
        scans=CachedScansClient(list(map(cache_pb2_grpc.CacheServiceStub, channels.values()))),
        memberships=memberships,
        ways=list(ways.values()),
    )
    return caches, list(channels.values())


def _as_one(ways: Mapping[str, Replica]) -> RowCache:
    return next(iter(ways.values())) if len(ways) == 1 else ReplicatedRows(ways)
