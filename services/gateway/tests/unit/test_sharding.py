"""How namespaces are found to be sharded: by memory, by a manifest, by the marker row."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from layer_gateway.application.sharding import INITIALISED_S, Marker, Sharding, Shards
from layer_gateway.ports.stores import Caller, Headers, Store, StoreAnswer
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_objects.port import Object, ObjectInfo

TOOLS = Namespace("tools")
SETTLE_S = 150.0
TYPES = {"id": "string", "_hevlayer_shard": "int"}


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Headers = ()


@dataclass
class World:
    """A store with or without a marker and rows outside, and an object store beside it."""

    marker_count: int | None = None
    manifest: bytes | None = None
    begun: bytes | None = None
    object_fault: bool = False
    outside: dict[str, bool] = field(default_factory=dict)
    """By level of consistency, whether rows are outside of all shards."""
    drain_status: int = 200
    now_s: float = 0.0
    wall_ms: int = 1_000_000
    read_keys: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shards = Shards(
            cast("Store", self),
            cast("ObjectStore", self),
            shard_count_default=16,
            monotonic=lambda: self.now_s,
            settle_s=SETTLE_S,
            now_ms=lambda: self.wall_ms,
        )

    async def query(self, namespace: Namespace, body: bytes, caller: Caller) -> StoreAnswer:
        query: dict[str, Any] = json.loads(body)
        rows: list[object] = []
        if query["filters"][0] == "id":
            if self.marker_count is not None:
                rows = [{"id": "m", "_hevlayer_shard_count": self.marker_count}]
            return Answer(200, json.dumps({"rows": rows}).encode())
        if self.outside.get(query["consistency"]["level"]):
            rows = [{"id": "stray"}]
        return Answer(self.drain_status, json.dumps({"rows": rows}).encode())

    async def get(self, key: str) -> Object | None:
        self.read_keys.append(key)
        if self.object_fault:
            raise UpstreamError("OBJECT_STORE_FAILED", "The object store is away.")
        body = self.manifest if key.endswith("manifest.json") else self.begun
        if body is None:
            return None
        info = ObjectInfo(key=key, etag="e", size_bytes=len(body), modified_ms=0)
        return Object(info=info, body=body)

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        assert (key, content_type) == ("shards/tools/initialised.json", "application/json")
        self.begun = body

    async def sharding(self) -> Sharding:
        return await self.shards.of(TOOLS, TYPES, Caller())


async def test_a_manifest_of_an_early_release_counts() -> None:
    world = World(manifest=b'{"namespace":"tools","shard_count":4,"documents_migrated":9}')
    found = await world.sharding()
    assert (found.shard_count, found.scatter_count, found.marker) == (4, 4, None)
    assert world.read_keys[0] == "shards/tools/manifest.json"
    assert not found.is_settling


@pytest.mark.parametrize("manifest", [None, b'{"shard_count":0}', b"{}", b"no JSON", b"\xff"])
async def test_a_manifest_that_says_nothing_is_none(manifest: bytes | None) -> None:
    world = World(manifest=manifest)
    assert await world.sharding() == Sharding(shard_count=16)
    world.marker_count = 3
    assert (await world.sharding()).scatter_count == 3


async def test_an_object_store_that_is_away_is_no_manifest() -> None:
    world = World(object_fault=True, marker_count=3)
    assert (await world.sharding()).scatter_count == 3


@pytest.mark.parametrize("level", ["strong", "eventual"])
async def test_a_row_outside_at_either_level_makes_queries_whole(level: str) -> None:
    found = await World(marker_count=3, outside={level: True}).sharding()
    assert (found.shard_count, found.scatter_count, found.is_initialised) == (3, 1, True)


async def test_what_cannot_be_asked_is_taken_for_a_row_outside() -> None:
    assert (await World(marker_count=3, drain_status=429).sharding()).scatter_count == 1


async def test_a_marker_just_written_counts_before_eventual_reads_show_it() -> None:
    world = World()
    world.shards.initialised(TOOLS, Marker(shard_count=5, schema_version=1))
    assert (await world.sharding()).scatter_count == 5
    world.shards.forget(TOOLS)
    assert await world.sharding() == Sharding(shard_count=16)
    world.shards.initialised(TOOLS, Marker(shard_count=5, schema_version=1))
    world.now_s += INITIALISED_S
    assert await world.sharding() == Sharding(shard_count=16)


async def test_a_marker_settles_once_nobody_can_still_go_by_what_was_before() -> None:
    world = World(marker_count=4)
    assert not (await world.sharding()).is_settling
    await world.shards.begin(TOOLS)
    assert (await world.sharding()).is_settling
    world.wall_ms += int(SETTLE_S * 1000) - 1
    found = await world.sharding()
    assert (found.is_settling, found.scatter_count) == (True, 4)
    world.wall_ms += 1
    assert not (await world.sharding()).is_settling


@pytest.mark.parametrize("begun", [b"{}", b"no JSON", b"\xff"])
async def test_what_does_not_say_when_a_marker_was_written_is_taken_for_just_now(
    begun: bytes,
) -> None:
    assert (await World(marker_count=4, begun=begun).sharding()).is_settling
    assert (await World(marker_count=4, object_fault=True).sharding()).is_settling


async def test_without_an_object_store_a_gateway_knows_of_its_own_markers() -> None:
    world = World(marker_count=4)
    world.shards = Shards(
        cast("Store", world), None, shard_count_default=16, monotonic=lambda: world.now_s
    )
    await world.shards.begin(TOOLS)
    assert not (await world.sharding()).is_settling
    world.shards.initialised(TOOLS, Marker(shard_count=4, schema_version=1))
    assert (await world.sharding()).is_settling
