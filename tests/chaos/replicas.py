"""Gateways in this process: the real use cases and adapters, wired as the bootstrap does it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc.aio
from prometheus_client import CollectorRegistry

from layer_gateway.adapters.cache_metrics import CacheMetrics
from layer_gateway.adapters.cached_rows import CachedRows
from layer_gateway.adapters.direct_lookups import LookupOffer
from layer_gateway.adapters.index_manifests import NoLabels
from layer_gateway.adapters.membership import Membership
from layer_gateway.adapters.no_history import NoHistory
from layer_gateway.adapters.no_snapshots import NoSnapshots
from layer_gateway.adapters.reachability import LastSeen
from layer_gateway.adapters.replicated_rows import ReplicatedRows
from layer_gateway.adapters.settlements import CacheStub
from layer_gateway.adapters.store import HttpStore
from layer_gateway.adapters.warmth import NoWarmth
from layer_gateway.adapters.write_triggers import NoTriggers
from layer_gateway.application.cache_states import CacheStates
from layer_gateway.application.facts import Facts
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.joined_reads import JoinedReads
from layer_gateway.application.layer_state import DescribeLayer
from layer_gateway.application.listings import Listings
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.application.purging import PurgeNamespace
from layer_gateway.application.sharding import Shards
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.watched import WatchSettings
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.application.writing import WriteRows
from layer_gateway.ports.rows import RowCache
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


def _linked(membership: type[Membership], link: Link) -> type[Membership]:
    """Return the class with what the cache offers led through ``link``."""

    class Linked(membership):  # type: ignore[misc, valid-type]
        @property
        def lookup_offer(self) -> LookupOffer:
            return LookupOffer(
                f":{link.address.rpartition(':')[2]}", super().lookup_offer.incarnation
            )

    return Linked


class Replica:
    """One gateway with links of its own to the replicas of the cache.

    Args:
        lookup_links: Those to the ports of lookups, which fail by themselves: what is sent over
            one link may arrive before or after what is sent over another.
    """

    def __init__(
        self,
        name: str,
        *,
        upstream_url: str,
        links: Sequence[Link],
        lookup_links: Sequence[Link],
        parts: Parts,
    ) -> None:
        self.name = name
        self.links = links
        self.lookup_links = lookup_links
        limits = UpstreamLimits(
            read_timeout_s=UPSTREAM_TIMEOUT_S, total_timeout_s=UPSTREAM_TIMEOUT_S
        )
        self._client = UpstreamClient(upstream_url, limits)
        store = HttpStore(self._client, LastSeen(epoch_milliseconds), api_key=b"")
        self._channels: list[grpc.aio.Channel] = []
        self._memberships: list[Membership] = []
        self._heard_s = [0.0] * len(links)
        metrics = CacheMetrics(CollectorRegistry())
        rows: dict[str, CachedRows] = {}
        for number, link in enumerate(links):
            channel = open_channel(link.address, retries=False)
            stub = CacheStub(channel)
            membership = _linked(parts.membership, lookup_links[number])(
                stub, monotonic=monotonic, metrics=metrics.of(number)
            )
            # By its number: each gateway has links of its own, and all must agree on the owners.
            rows[f"cache-{number}"] = parts.cached_rows(
                stub,
                membership,
                lookup_timeout_s=LOOKUP_TIMEOUT_S,
                write_timeout_s=UPSTREAM_TIMEOUT_S,
                metrics=metrics.of(number),
                replica=link.address,
            )
            self._channels.append(channel)
            self._memberships.append(membership)
        cache: RowCache = rows["cache-0"] if len(rows) == 1 else ReplicatedRows(rows)
        shards = Shards(store, None, shard_count_default=16, monotonic=monotonic)
        facts = Facts(store, shards, ttl_s=30.0, monotonic=monotonic)
        stamps = Stamps(epoch_milliseconds)
        watermarks = Watermarks(store, stamps, WatchSettings(), monotonic=monotonic)
        listings = Listings(ttl_s=0.0, monotonic=monotonic)
        self.write = WriteRows(
            store=store,
            cache=cache,
            facts=facts,
            stamps=stamps,
            watermarks=watermarks,
            listings=listings,
            store_name="default",
            triggers=NoTriggers(),
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
            describe_layer=DescribeLayer(
                shards=shards, watermarks=watermarks, snapshots=NoSnapshots()
            ),
            purge=PurgeNamespace(archive=NoHistory(), snapshots=NoSnapshots(), objects=None),
            states=CacheStates(cache, NoWarmth()),
            listings=listings,
            labels=NoLabels(),
            now_ms=epoch_milliseconds,
        )
        self._joined = asyncio.Event()
        self._keeping: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Join the cache, which comes before the first request (docs/decisions/0004)."""
        self._keeping = [asyncio.create_task(self._keep(at)) for at in range(len(self.links))]
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
        for keeping in self._keeping:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
        for task in list(self._running):
            task.cancel()
        for link in (*self.links, *self.lookup_links):
            await link.close()
        await self._client.aclose()
        for channel in self._channels:
            await channel.close()

    @property
    def heard_s(self) -> float:
        """When it last sent something that confirmed it to the replica it reaches least."""
        return min(self._heard_s)

    async def _keep(self, at: int) -> None:
        membership = self._memberships[at]
        while True:
            sent_s = time.monotonic()
            await membership.keep()
            if membership.is_confirmed:
                self._heard_s[at] = sent_s
                if all(self._heard_s):
                    self._joined.set()
            await asyncio.sleep(RENEW_S)
