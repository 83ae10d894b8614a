"""Gateways of their own clocks over one store whose index lags, with links that dawdle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry

from layer_gateway.adapters.no_cache import NoCache
from layer_gateway.adapters.no_snapshots import NoSnapshots
from layer_gateway.adapters.reachability import LastSeen
from layer_gateway.adapters.store import HttpStore
from layer_gateway.adapters.write_triggers import NoTriggers
from layer_gateway.application.examples import RankByExample
from layer_gateway.application.facts import Facts
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.initialising import BackfillSettings, InitNamespace
from layer_gateway.application.joined_reads import JoinedReads
from layer_gateway.application.layer_state import DescribeLayer
from layer_gateway.application.legs import RunLegs
from layer_gateway.application.listings import Listings
from layer_gateway.application.multi_querying import QueryLegs
from layer_gateway.application.plans import MakePlans
from layer_gateway.application.querying import QueryRows
from layer_gateway.application.sharding import Shards
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.strong import StrongNamespaces
from layer_gateway.application.watched import WatchSettings
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.application.writing import WriteRows
from layer_gateway.metrics import SearchMetrics
from layer_gateway.ports.stores import Caller, StoreAnswer
from layer_kit.clock import epoch_milliseconds, monotonic
from layer_kit.names import Namespace
from layer_testing.gateway_calls import KEY
from layer_upstream import UpstreamClient, UpstreamLimits
from layer_wire.jsontext import Piece
from tests.chaos.faults import Link

POLL_S: Final = 0.02
STABLE_POLL_S: Final = 0.02
UPSTREAM_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StableParts:
    """The classes a gateway is made of; tests of the checker put broken ones in."""

    stamps: type[Stamps] = Stamps
    watermarks: type[Watermarks] = Watermarks
    plans: type[MakePlans] = MakePlans
    query_legs: type[QueryLegs] = QueryLegs
    margin_is_kept: bool = True

    @property
    def broken(self) -> str:
        """Return the name of what is not the real one."""
        if not self.margin_is_kept:
            return "WithoutMargin"
        real = StableParts()
        parts = (
            (self.stamps, real.stamps),
            (self.watermarks, real.watermarks),
            (self.plans, real.plans),
            (self.query_legs, real.query_legs),
        )
        return next(mine.__name__ for mine, theirs in parts if mine is not theirs)


@dataclass(slots=True)
class Clock:
    """A wall clock that is off, and steps."""

    offset_ms: float = 0.0

    def now_ms(self) -> int:
        return int(time.time() * 1000 + self.offset_ms)


class WatchedStore(HttpStore):
    """Tells what each row is stamped with when its write is sent."""

    def __init__(self, client: UpstreamClient, *, stamped: Callable[[int, int], None]) -> None:
        super().__init__(client, LastSeen(epoch_milliseconds), api_key=KEY.encode())
        self._stamped = stamped

    async def write(
        self, namespace: Namespace, body: Sequence[Piece], caller: Caller
    ) -> StoreAnswer:
        for row in msgspec.json.decode(b"".join(body)).get("upsert_rows", ()):
            if "n" in row:
                self._stamped(row["n"], row["_hevlayer_upserted_at"])
        return await super().write(namespace, body, caller)


@dataclass(slots=True, kw_only=True)
class StableGateway:
    """One gateway, wired as the bootstrap does it."""

    name: str
    link: Link
    margin_ms: int
    parts: StableParts
    stamped: Callable[[int, int], None]
    clock: Clock = field(default_factory=Clock)
    watermarks: Watermarks = field(init=False)
    write: WriteRows = field(init=False)
    query: QueryRows = field(init=False)
    query_legs: QueryLegs = field(init=False)
    init: InitNamespace = field(init=False)
    _client: UpstreamClient = field(init=False)
    _polling: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        limits = UpstreamLimits(
            read_timeout_s=UPSTREAM_TIMEOUT_S, total_timeout_s=UPSTREAM_TIMEOUT_S
        )
        self._client = UpstreamClient(f"http://{self.link.address}", limits)
        store = WatchedStore(self._client, stamped=self.stamped)
        stamps = self.parts.stamps(self.clock.now_ms)
        self.watermarks = self.parts.watermarks(
            store,
            stamps,
            WatchSettings(
                interval_s=POLL_S,
                stable_interval_s=STABLE_POLL_S,
                safety_margin_ms=self.margin_ms if self.parts.margin_is_kept else 1,
            ),
            monotonic=monotonic,
        )
        shards = Shards(store, None, shard_count_default=16, monotonic=monotonic)
        facts = Facts(store, shards, ttl_s=30.0, monotonic=monotonic)
        cache = NoCache()
        core: dict[str, Any] = {"store": store, "cache": cache, "facts": facts}
        self.write = WriteRows(
            **core,
            stamps=stamps,
            watermarks=self.watermarks,
            listings=Listings(ttl_s=0.0, monotonic=monotonic),
            store_name="default",
            triggers=NoTriggers(),
        )
        fetch = FetchRows(cache=cache, facts=facts, reads=JoinedReads(**core))
        plans = self.parts.plans(facts=facts, strong_namespaces=StrongNamespaces(""))
        run_legs = RunLegs(store=store, plans=plans, watermarks=self.watermarks)
        queries: dict[str, Any] = {
            "run_legs": run_legs,
            "watermarks": self.watermarks,
            "rank_by_example": RankByExample(fetch=fetch),
        }
        self.query = QueryRows(**queries)
        observer = SearchMetrics(CollectorRegistry())
        self.query_legs = self.parts.query_legs(
            store=store, plans=plans, observer=observer, **queries
        )
        self.init = InitNamespace(
            **core,
            shards=shards,
            describe_layer=DescribeLayer(
                shards=shards, watermarks=self.watermarks, snapshots=NoSnapshots()
            ),
            settings=BackfillSettings(),
            monotonic=monotonic,
        )

    def start(self) -> None:
        """Begin to look at indexes."""
        self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """End it."""
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling
        await self.watermarks.aclose()
        await self.link.close()
        await self._client.aclose()

    async def dawdle(self, random: Random, most_s: float) -> None:
        """Change how slow the link is, for ever."""
        while True:
            for valve in (self.link.requests, self.link.answers):
                valve.delay_s = random.choice((0.0, random.uniform(0.0, most_s)))
            await asyncio.sleep(random.uniform(0.01, 0.1))

    async def step_clock(self, random: Random, most_ms: float) -> None:
        """Set the clock by something, for ever."""
        while True:
            self.clock.offset_ms = random.uniform(-most_ms, most_ms)
            await asyncio.sleep(random.uniform(0.01, 0.1))

    async def _poll(self) -> None:
        while True:
            await self.watermarks.poll()
            await asyncio.sleep(POLL_S)
