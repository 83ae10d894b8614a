"""The parts of the service over two folders, with clocks that tests move; no process, no loops."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry

from layer_history.adapters.damaged_files import DamagedFiles
from layer_history.adapters.directory import DataDirectory
from layer_history.adapters.local_disk import LocalDisk
from layer_history.adapters.no_mirror import NoMirror
from layer_history.application.appending import Appending
from layer_history.application.catalogue import Catalogue
from layer_history.application.compaction import Compaction
from layer_history.application.policies import Policies
from layer_history.application.reading import Reading, Selection
from layer_history.application.recent import Recent
from layer_history.application.retention import Retention
from layer_history.application.sealing import Sealing
from layer_history.application.segments import Segments
from layer_history.application.shipping import Shipping
from layer_history.domain.events import Click, Kind, Query
from layer_history.domain.names import Stream
from layer_history.domain.policy import Policy
from layer_kit.loops import background_loops
from layer_kit.names import Namespace
from layer_objects import ObjectStore, open_object_store

BOOKS: Final = Stream(Kind.QUERY, Namespace("books"))
CLICKS: Final = Stream(Kind.CLICK, Namespace("books"))
NOW_NS: Final = 1_780_000_000_000_000_000
DAMAGED_KEPT_S = 3600
DISK_BYTES_MAX: Final = 64 * 1024 * 1024


def search(time_ns: int, *, trace_id: str = "", tags: Sequence[str] = (), text: str = "x") -> Query:
    return Query(
        timestamp_nanos=time_ns,
        namespace=BOOKS.namespace,
        trace_id=trace_id or f"{time_ns:032x}",
        raw_query=text,
        query=msgspec.Raw(b"{}"),
        top_result_ids=[],
        tags=tags,
    )


def files(folder: Path, pattern: str) -> list[Path]:
    """Return the files below a folder whose names match, in order."""
    return sorted(folder.rglob(pattern))


@dataclass(slots=True, kw_only=True)
class Parts:
    """One service; see the module's text."""

    appending: Appending
    shipping: Shipping
    compaction: Compaction
    retention: Retention
    reading: Reading
    policies: Policies
    catalogue: Catalogue
    recent: Recent
    disk: LocalDisk
    objects: ObjectStore
    damages: Counter[str] = field(default_factory=Counter)

    async def append(self, *values: Query | Click) -> None:
        await self.appending.append(values)

    async def store(self, *values: Query | Click) -> None:
        """Append, and bring everything to the object store."""
        if values:
            await self.append(*values)
        await self.appending.flush()
        await self.shipping.ship_all()

    async def moments(
        self, *, stream: Stream = BOOKS, trace_id: str = "", tags: tuple[str, ...] = ()
    ) -> list[int]:
        """Return the moments of a page of 500."""
        selection = Selection(stream=stream, limit=500, trace_id=trace_id, tags=tags)
        return [event.time_ns for event in (await self.reading.find(selection)).events]


@asynccontextmanager
async def running_parts(
    data: Path, store: Path, *, now_ns: int = NOW_NS, objects: Any = None
) -> AsyncIterator[Parts]:
    """Build the parts over ``data`` and ``store``; the wall clock stands at ``now_ns``."""
    damages: Counter[str] = Counter()

    def count_damage(kind: str) -> None:
        damages[kind] += 1

    directory = DataDirectory(data)
    numbers = itertools.count(now_ns)
    damaged = DamagedFiles(directory.damaged, now_ns=lambda: now_ns, kept_s=DAMAGED_KEPT_S)
    disk = LocalDisk(
        directory, damaged=damaged, now_ns=lambda: next(numbers), count_damage=count_damage
    )
    objects = objects or open_object_store(store.as_uri())
    recent = Recent()
    sealing = Sealing(disk=disk, recent=recent, replica=directory.replica)
    for bundle in disk.recover(sealing.rebuild):
        recent.sealed(bundle)
    policies = Policies(objects=objects, default=Policy(), hash_key=b"key", save=lambda _: None)
    policies.restore(b"{}")
    ticks = itertools.count()
    catalogue = Catalogue(
        objects=objects,
        clock=lambda: float(next(ticks) * 10),  # nothing is remembered
        now_ns=lambda: now_ns,
    )
    segments = Segments(
        objects=objects, disk=disk, count_damage=count_damage, cache_bytes=1024 * 1024
    )
    compaction = Compaction(
        objects=objects,
        catalogue=catalogue,
        segments=segments,
        replica=directory.replica,
        now_ns=lambda: next(numbers),
    )
    parts = Parts(
        appending=Appending(
            disk=disk,
            recent=recent,
            policies=policies,
            sealing=sealing,
            mirror=NoMirror(),
            disk_bytes_max=DISK_BYTES_MAX,
        ),
        shipping=Shipping(
            disk=disk, recent=recent, objects=objects, catalogue=catalogue, policies=policies
        ),
        compaction=compaction,
        retention=Retention(
            objects=objects,
            catalogue=catalogue,
            compaction=compaction,
            policies=policies,
            mirror=NoMirror(),
            now_ns=lambda: now_ns,
        ),
        reading=Reading(recent=recent, mirror=NoMirror(), catalogue=catalogue, segments=segments),
        policies=policies,
        catalogue=catalogue,
        recent=recent,
        disk=disk,
        objects=objects,
        damages=damages,
    )
    try:
        async with background_loops(CollectorRegistry()) as loops:
            loops.every(0, parts.appending.write_waiting, name="log")
            yield parts
    finally:
        await objects.aclose()
        disk.close()
        directory.close()
