"""The row stores there are, each made by one function.

``aerospike`` is a node of our own that speaks Aerospike's protocol, or the cluster that
``AEROSPIKE_HOSTS`` names (``AEROSPIKE_NAMESPACE`` as well, by default ``test``).
"""

from __future__ import annotations

import inspect
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from layer_cache.adapters.aerospike.opening import Opened, Target, open_aerospike, parse_hosts
from layer_cache.adapters.embedded import DISK_BYTES_MIN, EmbeddedStore
from layer_cache.adapters.memory import MemoryStore
from layer_cache.adapters.sqlite_rows import SqliteStore
from layer_cache.ports import RowStore
from layer_cache_testing.aerospike_node.node import AerospikeNode

TTL_S = 60.0


class Stores:
    """Makes stores of one kind, all over the same place, with a clock that tests move."""

    def __init__(self, kind: str, path: Path, target: Callable[[], Target]) -> None:
        self.kind = kind
        self.path = path
        self.now_ms = 1_000_000_000
        self.bytes_max = DISK_BYTES_MIN
        self.distrusted: list[str] = []
        self._target = target
        self._opened: list[RowStore] = []
        self._aerospike: dict[RowStore, Opened] = {}

    async def open(self) -> RowStore:
        store = await self._make()
        self._opened.append(store)
        return store

    async def reopen(self, store: RowStore) -> RowStore:
        """Stop a store and start it again."""
        self._opened.remove(store)
        await self._close(store)
        return await self.open()

    async def close(self) -> None:
        while self._opened:
            await self._close(self._opened.pop())

    async def _close(self, store: RowStore) -> None:
        await store.close()
        if (opened := self._aerospike.pop(store, None)) is not None:
            await opened.ledger.close()

    async def measure(self, store: RowStore) -> None:
        """Have a store that is far look at how full it is, as it does now and then."""
        if (opened := self._aerospike.get(store)) is not None:
            await opened.measure()

    async def _make(self) -> RowStore:
        if self.kind == "memory":
            return MemoryStore(bytes_max=self.bytes_max, ttl_s=TTL_S, now_ms=lambda: self.now_ms)
        if self.kind == "aerospike":
            return await self._make_aerospike()
        kind = SqliteStore if self.kind == "sqlite" else EmbeddedStore
        return kind(
            self.path,
            disk_bytes_max=self.bytes_max,
            ttl_s=TTL_S,
            now_ms=lambda: self.now_ms,
            distrust=self.distrusted.append,
        )

    async def _make_aerospike(self) -> RowStore:
        opened: Opened = await open_aerospike(
            self._target(),
            ttl_s=TTL_S,
            now_ms=lambda: self.now_ms,
            clock=lambda: 0.0,  # a tenure without an end
            registry=CollectorRegistry(),
            set_label_count_max=10,
            on_loss=lambda: pytest.fail("somebody else took the rows"),
        )
        self._aerospike[opened.rows] = opened
        return opened.rows


TIMEOUT_MS = 5_000
"""More than a busy machine needs; tests of timeouts set their own."""


def target_of(hosts: str, namespace: str, prefix: str) -> Target:
    return Target(
        hosts=parse_hosts(hosts), namespace=namespace, set_prefix=prefix, timeout_ms=TIMEOUT_MS
    )


@pytest.fixture
def node() -> Iterator[AerospikeNode]:
    """Yield a node whose records are kept as long as the test runs."""
    made = AerospikeNode(namespace="test", now_s=time.time)
    yield made
    made.close()


@pytest.fixture
def target(request: pytest.FixtureRequest, node: AerospikeNode) -> Callable[[], Target]:
    """Return what makes a place of this test's own in the cluster.

    A test that asks for ``node`` causes faults, and has them there whatever is set.
    """
    prefix = f"t{secrets.token_hex(4)}_"
    needs_faults = "node" in inspect.signature(request.function).parameters

    def make() -> Target:
        if not needs_faults and (hosts := os.environ.get("AEROSPIKE_HOSTS")):
            namespace = os.environ.get("AEROSPIKE_NAMESPACE", "test")
            return target_of(hosts, namespace, prefix)
        return target_of(node.host, "test", prefix)

    return make


class Process:
    """A cache process as far as its store in Aerospike goes, with a clock that the test moves."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.now_s = 1000.0
        self.step_s = 0.01
        """How far the clock moves each time it is read, until the process has started."""

        self.now_ms = 1_000_000_000
        self.is_told_to_end = False
        self.opened: Opened | None = None

    async def start(self) -> Opened:
        self.registry = CollectorRegistry()
        self.opened = await open_aerospike(
            self.target,
            ttl_s=TTL_S,
            now_ms=lambda: self.now_ms,
            clock=self._clock,
            registry=self.registry,
            set_label_count_max=10,
            on_loss=self._end,
        )
        self.step_s = 0.0
        return self.opened

    async def stop(self) -> None:
        """Stop, if it runs, as a process does that is told to."""
        if self.opened is not None:
            opened, self.opened = self.opened, None
            await opened.rows.close()
            await opened.ledger.close()

    def _clock(self) -> float:
        self.now_s += self.step_s
        return self.now_s

    def _end(self) -> None:
        self.is_told_to_end = True


@pytest.fixture
async def processes(target: Callable[[], Target]) -> AsyncIterator[Callable[..., Process]]:
    """Yield what makes processes over one place; each is stopped at the end."""
    made: list[Process] = []
    place = target()

    def make(**changes: Any) -> Process:
        process = Process(replace(place, **changes))
        made.append(process)
        return process

    yield make
    for process in made:
        await process.stop()


@pytest.fixture(params=["embedded", "sqlite", "memory"])
async def bounded_stores(
    request: pytest.FixtureRequest, tmp_path: Path, target: Callable[[], Target]
) -> AsyncIterator[Stores]:
    """Yield stores that keep a bound of bytes by themselves; Aerospike's is its server's."""
    made = Stores(request.param, tmp_path / "rows", target)
    yield made
    await made.close()


@pytest.fixture(params=["embedded", "sqlite", "memory", "aerospike"])
async def stores(
    request: pytest.FixtureRequest, tmp_path: Path, target: Callable[[], Target]
) -> AsyncIterator[Stores]:
    made = Stores(request.param, tmp_path / "rows", target)
    yield made
    await made.close()


@pytest.fixture
def make_stores(tmp_path: Path, target: Callable[[], Target]) -> Callable[[str], Stores]:
    return lambda kind: Stores(kind, tmp_path / "rows", target)
