"""Where the cache keeps rows, and what can go wrong there: a directory, or an Aerospike cluster.

``AEROSPIKE_HOSTS`` names a real cluster (``AEROSPIKE_NAMESPACE`` as well, by default ``test``);
otherwise it is a node of our own that speaks Aerospike's protocol, and fails on demand.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Protocol

from layer_cache_testing.aerospike_node.node import AerospikeNode

DISK_BYTES_MAX: Final = 16 * 1024 * 1024
NAMESPACE: Final = "test"


class CacheStore(Protocol):
    """The place of one cache's rows, which outlives its processes."""

    @property
    def can_fail(self) -> bool:
        """Return whether it can be broken while a process uses it."""
        ...

    def environment(self) -> dict[str, str]:
        """Return the settings that have a cache keep its rows here."""
        ...

    def wipe(self) -> None:
        """Lose everything, while no process uses it."""
        ...

    async def fail(self, random: Random, seconds: float) -> None:
        """Be out of order in some way for a while."""
        ...


@dataclass(slots=True, kw_only=True)
class DirectoryStore:
    """A directory of the embedded store."""

    directory: Path
    can_fail: bool = False

    def environment(self) -> dict[str, str]:
        return {
            "LAYER_CACHE_DATA_DIRECTORY": str(self.directory),
            "LAYER_CACHE_DISK_BYTES_MAX": str(DISK_BYTES_MAX),
        }

    def wipe(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    async def fail(self, random: Random, seconds: float) -> None:
        """Do nothing: a disk fails together with its process."""


def _prefix() -> str:
    return f"chaos{secrets.token_hex(4)}_"


@dataclass(slots=True, kw_only=True)
class ClusterStore:
    """Sets of a cluster's; only those of our own node can be broken."""

    hosts: str
    namespace: str = NAMESPACE
    node: AerospikeNode | None = None
    prefix: str = field(default_factory=_prefix)

    @property
    def can_fail(self) -> bool:
        return self.node is not None

    def environment(self) -> dict[str, str]:
        return {
            "LAYER_CACHE_BACKEND": "aerospike",
            "AEROSPIKE_HOSTS": self.hosts,
            "AEROSPIKE_NAMESPACE": self.namespace,
            "AEROSPIKE_SET_PREFIX": self.prefix,
        }

    def wipe(self) -> None:
        if self.node is not None:
            self.node.forget()
        else:
            self.prefix = _prefix()

    async def fail(self, random: Random, seconds: float) -> None:
        if self.node is None:
            return
        match random.choice(("away", "silent", "held up", "cut")):
            case "away":
                self.node.stop()
                await asyncio.sleep(seconds)
                self.node.start()
            case "silent":
                self.node.is_silent = True
                await asyncio.sleep(seconds)
                self.node.is_silent = False
            case "held up":
                with self.node.writes_held_up():
                    await asyncio.sleep(seconds)
            case _:
                self.node.rows_until_cut = random.randrange(3)


@contextmanager
def cluster_store() -> Iterator[ClusterStore]:
    """Yield a place of its own in the cluster that the tests are told of, or in a node of ours."""
    if hosts := os.environ.get("AEROSPIKE_HOSTS"):
        yield ClusterStore(
            hosts=hosts, namespace=os.environ.get("AEROSPIKE_NAMESPACE") or NAMESPACE
        )
        return
    node = AerospikeNode(namespace=NAMESPACE)
    try:
        yield ClusterStore(hosts=node.host, node=node)
    finally:
        node.close()
