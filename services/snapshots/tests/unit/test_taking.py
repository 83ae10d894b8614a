"""When a snapshot is taken and by whom, with a clock and rows that the test holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore, open_object_store
from layer_snapshots.adapters.cache_mirror import NoMirror
from layer_snapshots.application.bodies import Bodies
from layer_snapshots.application.catalogue import Catalogue
from layer_snapshots.application.checkpoints import Checkpoints
from layer_snapshots.application.latest import Latest
from layer_snapshots.application.policies import Policies
from layer_snapshots.application.retention import Retention
from layer_snapshots.application.states import States
from layer_snapshots.application.taking import Observer, Taking
from layer_snapshots.domain.keys import snapshot_key, state_key
from layer_snapshots.domain.policy import Policy
from layer_snapshots.ports import CachedCounts, NamespaceFigures, ValuePage, Wanted

TOOLS = Namespace("tools")
W_MS = 1_780_000_000_000
LEASE_MS = 30_000
MINUTES_MS = 60_000


@dataclass(slots=True)
class Shelf:
    """Rows of one facet, in the test's hand."""

    kinds: list[str] = field(default_factory=lambda: ["saw"])
    error: UpstreamError | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    is_read: asyncio.Event = field(default_factory=asyncio.Event)
    reads_count: int = 0
    has_key: bool = True

    def __post_init__(self) -> None:
        self.gate.set()

    async def figures(self, namespace: Namespace, authorization: str) -> NamespaceFigures:
        raise NotImplementedError

    async def cached(self, wanted: Wanted) -> CachedCounts | None:
        raise NotImplementedError

    async def values(self, wanted: Wanted) -> AsyncIterator[ValuePage]:
        self.reads_count += 1
        self.is_read.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        yield ValuePage(
            row_count=len(self.kinds), columns=[(msgspec.json.encode(self.kinds), "string")]
        )


@dataclass(slots=True)
class Replica:
    """One process' parts; several share a store and a clock."""

    objects: ObjectStore
    owner: str
    clock: list[int]
    shelf: Shelf = field(default_factory=Shelf)
    outcomes: Counter[str] = field(default_factory=Counter)
    taking: Taking = field(init=False)
    catalogue: Catalogue = field(init=False)
    policies: Policies = field(init=False)

    def __post_init__(self) -> None:
        objects, now_ms = self.objects, lambda: self.clock[0]
        self.policies = Policies(
            objects=objects, declared={TOOLS: Policy(facetFields=("kind",), interval="5m")}
        )
        states = States(objects=objects, owner=self.owner, lease_ms=LEASE_MS, now_ms=now_ms)
        self.catalogue = Catalogue(objects=objects, now_ms=now_ms)
        bodies = Bodies(objects=objects, catalogue=self.catalogue, cache_bytes=2**20)
        latest = Latest(
            bodies=bodies,
            catalogue=self.catalogue,
            states=states,
            policies=self.policies,
            mirror=NoMirror(),
            monotonic=lambda: self.clock[0] / 1000,
            cache_bytes=2**20,
        )
        self.taking = Taking(
            rows=self.shelf,
            policies=self.policies,
            states=states,
            bodies=bodies,
            latest=latest,
            retention=Retention(
                objects=objects,
                policies=self.policies,
                catalogue=self.catalogue,
                checkpoints=Checkpoints(objects=objects, catalogue=self.catalogue, latest=latest),
                bodies=bodies,
                states=states,
                now_ms=now_ms,
                pruned=lambda *_: None,
            ),
            now_ms=now_ms,
            observer=Observer(
                ended=lambda outcome, _: self.outcomes.update([outcome]), skipped=lambda *_: None
            ),
        )

    async def turn(self) -> None:
        """Take a turn and wait for what it has begun."""
        await self.taking.turn()
        await asyncio.gather(*self.taking._running.values())

    async def told(self, watermark_ms: int) -> None:
        self.taking.advanced(TOOLS, watermark_ms, "")
        await self.turn()

    async def watermarks(self) -> list[int]:
        return [name.watermark_ms for name in await self.catalogue.newest(TOOLS, 10)]


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    store = open_object_store(tmp_path.as_uri())
    yield store
    await store.aclose()


@pytest.fixture
def clock() -> list[int]:
    return [W_MS + 1000]


@pytest.fixture
def one(objects: ObjectStore, clock: list[int]) -> Replica:
    return Replica(objects, "one", clock)


@pytest.fixture
def other(objects: ObjectStore, clock: list[int]) -> Replica:
    return Replica(objects, "other", clock)


async def test_the_interval_counts_from_the_beginning_of_the_last_attempt(
    one: Replica, clock: list[int]
) -> None:
    await one.told(W_MS)
    one.shelf.kinds = ["drill"]
    clock[0] += 4 * MINUTES_MS
    await one.told(W_MS + 4 * MINUTES_MS)
    assert await one.watermarks() == [W_MS]

    clock[0] += MINUTES_MS - 1
    await one.turn()
    assert one.shelf.reads_count == 1

    clock[0] += 1  # what was told in between has waited
    await one.turn()
    assert await one.watermarks() == [W_MS + 4 * MINUTES_MS, W_MS]


async def test_a_failure_is_tried_again_when_the_interval_has_passed(
    one: Replica, clock: list[int]
) -> None:
    one.shelf.error = UpstreamError("AWAY", "Nobody is there.")
    await one.told(W_MS)
    one.shelf.error = None
    clock[0] += MINUTES_MS
    await one.turn()
    assert one.shelf.reads_count == 1

    clock[0] += 4 * MINUTES_MS
    await one.turn()
    assert await one.watermarks() == [W_MS]
    assert one.outcomes == {"failed": 1, "written": 1}


async def test_only_the_latest_is_compared_with_what_was_counted(
    one: Replica, clock: list[int]
) -> None:
    for at, kinds in enumerate((["saw"], ["saw"], ["drill"], ["saw"])):
        one.shelf.kinds = kinds
        await one.told(W_MS + at)
        clock[0] += 5 * MINUTES_MS

    assert await one.watermarks() == [W_MS + 3, W_MS + 2, W_MS]
    assert one.outcomes == {"written": 3, "unchanged": 1}


async def test_a_watermark_that_was_counted_elsewhere_is_not_counted_again(
    one: Replica, other: Replica, clock: list[int]
) -> None:
    await one.told(W_MS)
    clock[0] += 5 * MINUTES_MS
    await other.told(W_MS)

    assert other.shelf.reads_count == 0
    assert other.taking.waiting_count == 0


async def test_a_replica_that_counts_keeps_the_others_away_until_its_lease_runs_out(
    one: Replica, other: Replica, clock: list[int]
) -> None:
    one.shelf.gate.clear()
    one.taking.advanced(TOOLS, W_MS, "")
    await one.taking.turn()
    await one.shelf.is_read.wait()

    await other.told(W_MS)
    assert other.shelf.reads_count == 0

    clock[0] += 5 * MINUTES_MS
    await other.turn()
    assert other.outcomes == {"written": 1}

    one.shelf.gate.set()
    one.shelf.kinds = ["late"]
    await one.turn()
    assert one.outcomes == {"lost": 1}
    assert await one.watermarks() == [W_MS]


async def test_what_is_purged_while_it_is_counted_leaves_nothing(
    one: Replica, objects: ObjectStore
) -> None:
    one.shelf.gate.clear()
    one.taking.advanced(TOOLS, W_MS, "")
    await one.taking.turn()
    await one.shelf.is_read.wait()

    await objects.delete(state_key(TOOLS))
    one.shelf.gate.set()
    await one.turn()

    assert one.outcomes == {"lost": 1}
    assert await one.watermarks() == []


async def test_without_facet_fields_nothing_is_read(one: Replica) -> None:
    one.policies.declared = {}
    await one.told(W_MS)
    assert (one.shelf.reads_count, one.taking.waiting_count) == (0, 1)

    one.policies.declared = {TOOLS: Policy(facetFields=("kind",))}
    await one.turn()
    assert await one.watermarks() == [W_MS]


async def test_a_bucket_of_another_system_has_a_latest_snapshot(
    one: Replica, objects: ObjectStore
) -> None:
    await one.told(W_MS)
    [name] = await one.catalogue.newest(TOOLS, 1)
    await objects.delete(state_key(TOOLS))
    text = (await objects.get(snapshot_key(TOOLS, name))).body.replace(b'"kind"', b'"other"')  # type: ignore[union-attr]
    later = name._replace(watermark_ms=W_MS + 1, short_sha="abcdef0")
    await objects.put(snapshot_key(TOOLS, later), text)

    found = await one.taking.latest.current(TOOLS)
    assert [one.name for one in found.body.fields] == ["kind"]
