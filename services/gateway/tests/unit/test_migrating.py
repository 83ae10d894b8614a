"""Migrations that take longer than one answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from layer_gateway.application import migrating
from layer_gateway.application.initialising import InitNamespace
from layer_gateway.application.layer_state import LayerState
from layer_gateway.application.migrating import MigrateNamespace
from layer_gateway.ports.stores import Caller
from layer_kit.errors import AlreadyExistsError, UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore, open_object_store

SHOP = Namespace("shop")
KEY = "shards/shop/manifest.json"


@dataclass
class World:
    """Initialises a namespace row by row, when a test lets it."""

    objects: ObjectStore
    rows_left: int = 3
    shard_count: int | None = None
    faults: list[Exception] = field(default_factory=list)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def gateway(self) -> MigrateNamespace:
        return MigrateNamespace(
            init_namespace=cast("InitNamespace", self.init),
            objects=self.objects,
            shard_count_default=16,
            now_ms=lambda: 0,
        )

    async def init(
        self,
        _namespace: Namespace,
        *,
        schema_version: int,
        shard_count: int | None,
        caller: Caller,
        assigned: Callable[[int], None],
    ) -> LayerState:
        assert (schema_version, caller) == (1, Caller())
        self.shard_count = self.shard_count or shard_count
        if self.shard_count is None:
            return LayerState(stable_as_of=None, is_stable=False)
        await self.turns.acquire()
        if self.faults:
            raise self.faults.pop(0)
        self.rows_left -= 1
        assigned(1)
        return LayerState(
            stable_as_of=None,
            is_stable=False,
            shard_count=self.shard_count,
            init_state="running" if self.rows_left else "ready",
        )

    def let(self, turns_count: int) -> None:
        for _ in range(turns_count):
            self.turns.release()

    async def kept(self) -> Any:
        found = await self.objects.get(KEY)
        return None if found is None else json.loads(found.body)


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(migrating, "ANSWER_S_MAX", 0.01)
    monkeypatch.setattr(migrating, "PAUSE_S", 0.0)
    objects = open_object_store(tmp_path.as_uri())
    yield World(objects)
    await objects.aclose()


def manifest(migrated: int, completed_at: str | None = None) -> dict[str, object]:
    return {
        "namespace": "shop",
        "shard_count": 16,
        "completed_at": completed_at,
        "documents_migrated": migrated,
    }


async def until_completed(migrate: MigrateNamespace) -> Any:
    while (done := await migrate(SHOP, None, Caller())).completed_at is None:
        pass
    return done


async def test_what_takes_longer_goes_on_and_can_be_followed(world: World) -> None:
    migrate = world.gateway()
    world.let(1)
    assert (await migrate(SHOP, None, Caller())).completed_at is None
    assert await world.kept() == manifest(1)
    with pytest.raises(AlreadyExistsError):
        await migrate(SHOP, 4, Caller())
    world.let(2)
    done = await until_completed(migrate)
    assert (done.documents_migrated, done.shard_count) == (3, 16)
    assert await world.kept() == manifest(3, "1970-01-01T00:00:00.000Z")


async def test_another_gateway_goes_on_where_one_was_stopped(world: World) -> None:
    first = world.gateway()
    world.let(1)
    await first(SHOP, None, Caller())
    await first.aclose()
    world.let(2)
    assert (await until_completed(world.gateway())).documents_migrated == 3


async def test_a_store_that_fails_for_a_while_is_waited_for(world: World) -> None:
    migrate = world.gateway()
    world.let(1)
    await migrate(SHOP, None, Caller())
    world.faults = [UpstreamError("INIT_FAILED", "Not now.")] * 3
    world.let(5)
    assert (await until_completed(migrate)).documents_migrated == 3


async def test_a_store_that_keeps_failing_is_what_the_caller_hears(world: World) -> None:
    migrate = world.gateway()
    world.let(1)
    await migrate(SHOP, None, Caller())
    world.faults = [UpstreamError("INIT_FAILED", "Not now.")] * 100
    world.let(100)
    with pytest.raises(UpstreamError):
        await until_completed(migrate)
    world.faults.clear()
    assert (await until_completed(migrate)).documents_migrated == 3


async def test_a_manifest_that_cannot_be_read_is_written_anew(world: World) -> None:
    await world.objects.put(KEY, b"no JSON")
    world.let(3)
    assert (await until_completed(world.gateway())).documents_migrated == 3
