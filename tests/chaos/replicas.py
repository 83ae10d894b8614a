"""Gateways in this process: the real use cases and adapters, wired as the bootstrap does it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc.aio
from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2_grpc
from layer_gateway.adapters.cached_rows import CachedRows
from layer_gateway.adapters.membership import Membership
from layer_gateway.adapters.no_history import NoHistory
from layer_gateway.adapters.reachability import LastSeen
from layer_gateway.adapters.store import HttpStore
from layer_gateway.adapters.warmth import NoWarmth
from layer_gateway.application.cache_states import CacheStates
from layer_gateway.application.facts import Facts
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.joined_reads import JoinedReads
from layer_gateway.application.layer_state import DescribeLayer
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.application.purging import PurgeNamespace
from layer_gateway.application.sharding import Shards
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.watermarks import WatchSettings, Watermarks
from layer_gateway.application.writing import WriteRows
from layer_kit.clock import epoch_milliseconds, monotonic
from layer_kit.rpc.client import open_channel
from layer_upstream import UpstreamClient, UpstreamLimits
from tests.chaos.faults import Link

RENEW_S: Final = 0.1
LOOKUP_TIMEOUT_S: Final = 0.2
UPSTREAM_TIMEOUT_S: Final = 0.6
FIRST_SESSION_S_MAX: Final = 20.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The classes a gateway is made of; tests of the checker put broken ones in."""

    membership: type[Membership] = Membership
    cached_rows: type[CachedRows] = CachedRows
    joined_reads: type[JoinedReads] = JoinedReads

    @property
    def broken(self) -> str:
        """Return the name of the class that is not the real one."""
        return next(
            found.__name__
            for found in (self.membership, self.cached_rows, self.joined_reads)
            if found not in (Membership, CachedRows, JoinedReads)
        )


class Replica:
    """One gateway with a link of its own to the cache."""

    def __init__(self, name: str, *, upstream_url: str, link: Link, parts: Parts) -> None:
        self.name = name
        self.link = link
        self.heard_s = 0.0
        """When it last sent something to the cache that confirmed its membership."""
        self._channel: grpc.aio.Channel = open_channel(link.address, retries=False)
        stub = cache_pb2_grpc.CacheServiceStub(self._channel)
        registry = CollectorRegistry()
        self._membership = parts.membership(stub, monotonic=monotonic, registry=registry)
        limits = UpstreamLimits(
            read_timeout_s=UPSTREAM_TIMEOUT_S, total_timeout_s=UPSTREAM_TIMEOUT_S
        )
        self._client = UpstreamClient(upstream_url, limits)
        store = HttpStore(self._client, LastSeen(epoch_milliseconds), api_key=b"")
        cache = parts.cached_rows(
            stub,
            self._membership,
            lookup_timeout_s=LOOKUP_TIMEOUT_S,
            write_timeout_s=UPSTREAM_TIMEOUT_S,
            registry=registry,
        )
        shards = Shards(store, None, shard_count_default=16, monotonic=monotonic)
        facts = Facts(store, shards, ttl_s=30.0, monotonic=monotonic)
        stamps = Stamps(epoch_milliseconds)
        watermarks = Watermarks(store, stamps, WatchSettings(), monotonic=monotonic)
        self.write = WriteRows(
            store=store,
            cache=cache,
            facts=facts,
            stamps=stamps,
            watermarks=watermarks,
            store_name="default",
        )
        self.fetch = FetchRows(
            cache=cache,
            facts=facts,
            reads=parts.joined_reads(store=store, cache=cache, facts=facts),
        )
        self.namespaces = Namespaces(
            store=store,
            cache=cache,
            facts=facts,
            watermarks=watermarks,
            describe_layer=DescribeLayer(shards=shards, watermarks=watermarks),
            purge=PurgeNamespace(archive=NoHistory(), objects=None),
            states=CacheStates(cache, NoWarmth()),
        )
        self._joined = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Join the cache, which comes before the first request (docs/decisions/0004)."""
        self._keeping = asyncio.create_task(self._keep())
        async with asyncio.timeout(FIRST_SESSION_S_MAX):
            await self._joined.wait()

    async def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do ``work`` as a request to this gateway; None when the gateway dies in it."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    async def die(self) -> None:
        """Stop at once, in the middle of everything, without a word to anyone."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        for task in list(self._running):
            task.cancel()
        await self.link.close()
        await self._client.aclose()
        await self._channel.close()

    async def _keep(self) -> None:
        while True:
            sent_s = time.monotonic()
            await self._membership.keep()
            if self._membership.is_confirmed:
                self.heard_s = sent_s
                self._joined.set()
            await asyncio.sleep(RENEW_S)
