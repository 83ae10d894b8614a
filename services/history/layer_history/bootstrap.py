"""The composition root: the only module that names the concrete disk and object store."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from layer.cache.v1 import cache_pb2_grpc
from layer.history.v1 import history_pb2, history_pb2_grpc
from layer_history.adapters.cache_mirror import CacheMirror
from layer_history.adapters.damaged_files import DamagedFiles
from layer_history.adapters.directory import DataDirectory
from layer_history.adapters.local_disk import LocalDisk
from layer_history.adapters.no_mirror import NoMirror
from layer_history.application.appending import Appending
from layer_history.application.catalogue import Catalogue
from layer_history.application.compaction import Compaction
from layer_history.application.listing import Listing
from layer_history.application.policies import Policies
from layer_history.application.reading import Reading
from layer_history.application.recent import Recent
from layer_history.application.retention import Retention
from layer_history.application.sealing import Sealing
from layer_history.application.segments import Segments
from layer_history.application.shipping import Shipping
from layer_history.domain.policy import Policy, Redaction
from layer_history.metrics import Figures, FiguresCollector, HistoryMetrics
from layer_history.ports import Mirror
from layer_history.rpc.servicer import HistoryServicer
from layer_history.settings import HistorySettings
from layer_kit.clock import monotonic
from layer_kit.configuration import ConfigurationError
from layer_kit.directories import write_whole
from layer_kit.errors import LayerError
from layer_kit.process import Addresses
from layer_kit.rpc.client import open_channel
from layer_kit.service import ServiceFrame, service_frame
from layer_objects import ObjectStore, open_object_store

log = structlog.get_logger(__name__)

SERVICES: Final = tuple(history_pb2.DESCRIPTOR.services_by_name.values())
SHIP_INTERVAL_S: Final = 0.5
POLICY_INTERVAL_S: Final = 30.0
LEARNING_INTERVAL_S: Final = 1.0
LEARNING_S_MAX: Final = 2.0
MIRROR_INTERVAL_S: Final = 1.0
SHIPPING_S_MAX: Final = 10
"""How long a flush may take to reach the object store before other replicas lose sight of it."""


@asynccontextmanager
async def serving(settings: HistorySettings) -> AsyncIterator[Addresses]:
    """Run the service for the length of the block; yield what it listens on.

    Raises:
        ConfigurationError: When the data directory, the object store or an address is unusable.
    """
    async with service_frame(settings) as frame:
        parts = _build(settings, frame)
        await parts.learn()  # before the first event comes
        frame.resources.push_async_callback(parts.leave, settings.shutdown_grace_s)
        frame.resources.push_async_callback(frame.loops.stop)
        frame.loops.every(0, parts.appending.write_waiting, name="log")
        frame.loops.every(settings.flush_interval_s, parts.appending.flush, name="flush")
        frame.loops.every(SHIP_INTERVAL_S, parts.ship, name="ship")
        frame.loops.every(LEARNING_INTERVAL_S, parts.learn, name="learn")
        frame.loops.every(POLICY_INTERVAL_S, parts.policies.refresh, name="policies")
        frame.loops.every(settings.maintenance_interval_s, parts.maintain, name="maintenance")
        servicer = HistoryServicer(
            appending=parts.appending,
            listing=parts.listing,
            policies=parts.policies,
            retention=parts.retention,
            metrics=parts.metrics,
            draining=frame.draining,
        )
        await frame.serve_grpc(
            settings.grpc_address,
            SERVICES,
            lambda server: history_pb2_grpc.add_HistoryServiceServicer_to_server(servicer, server),
        )
        frame.started()
        yield frame.addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    appending: Appending
    shipping: Shipping
    compaction: Compaction
    retention: Retention
    listing: Listing
    policies: Policies
    damaged: DamagedFiles
    metrics: HistoryMetrics

    async def learn(self) -> None:
        """Read policies for the first time, without holding anything up for long."""
        if self.policies.is_known:
            return
        try:
            async with asyncio.timeout(LEARNING_S_MAX):
                await self.policies.refresh()
        except (LayerError, TimeoutError) as error:
            log.warning("policies_unknown", cause=str(error))

    async def ship(self) -> None:
        places = await self.shipping.ship_all()
        self.metrics.count_shipped(len(places))
        for stream, day in sorted(places):
            self.metrics.count_merged(await self.compaction.compact(stream, day))

    async def maintain(self) -> None:
        await asyncio.to_thread(self.damaged.expire)
        self.metrics.count_merged(await self.retention.keep_up())

    async def leave(self, grace_s: float) -> None:
        """Bring to the object store what still can be, since the disk may go with the process."""
        try:
            await self.appending.flush()
            async with asyncio.timeout(grace_s):
                await self.shipping.ship_all()
        except* (LayerError, TimeoutError) as error:
            log.warning("events_left_behind", cause=str(error.exceptions[0]))


def _build(settings: HistorySettings, frame: ServiceFrame) -> _Parts:
    metrics = HistoryMetrics(frame.registry)
    directory = DataDirectory(settings.data_directory)
    frame.resources.callback(directory.close)
    objects = _open_objects(settings, frame)
    damaged = DamagedFiles(
        directory.damaged, now_ns=time.time_ns, kept_s=settings.damaged_retention_s
    )
    disk = LocalDisk(
        directory, damaged=damaged, now_ns=time.time_ns, count_damage=metrics.count_damage
    )
    frame.resources.callback(disk.close)
    recent = Recent()
    mirror = _open_mirror(settings, frame, metrics, directory.replica)
    policies = _open_policies(settings, objects, directory.policies)
    sealing = Sealing(disk=disk, recent=recent, replica=directory.replica)
    try:
        for bundle in disk.recover(sealing.rebuild):
            recent.sealed(bundle)
    except OSError as error:
        raise ConfigurationError(
            f"data_directory {settings.data_directory} cannot be used: {error.strerror}"
        ) from error
    catalogue = Catalogue(objects=objects, clock=monotonic, now_ns=time.time_ns)
    segments = Segments(
        objects=objects,
        disk=disk,
        count_damage=metrics.count_damage,
        cache_bytes=settings.cache_bytes,
    )
    compaction = Compaction(
        objects=objects,
        catalogue=catalogue,
        segments=segments,
        replica=directory.replica,
        now_ns=time.time_ns,
    )
    frame.registry.register(
        FiguresCollector(
            lambda: Figures(
                disk_bytes=disk.used_bytes,
                disk_bytes_max=settings.disk_bytes_max,
                memory_bytes=recent.lines_bytes,
                bundles_count=len(recent.bundles),
            )
        )
    )
    return _Parts(
        appending=Appending(
            disk=disk,
            recent=recent,
            policies=policies,
            sealing=sealing,
            mirror=mirror,
            disk_bytes_max=settings.disk_bytes_max,
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
            mirror=mirror,
            now_ns=time.time_ns,
        ),
        listing=Listing(
            reading=Reading(recent=recent, mirror=mirror, catalogue=catalogue, segments=segments),
            policies=policies,
            now_ns=time.time_ns,
        ),
        policies=policies,
        damaged=damaged,
        metrics=metrics,
    )


def _open_objects(settings: HistorySettings, frame: ServiceFrame) -> ObjectStore:
    objects = settings.open_objects(frame.registry)
    if objects is None:
        folder = (settings.data_directory / "objects").absolute()
        objects = open_object_store(folder.as_uri(), registry=frame.registry)
    frame.resources.push_async_callback(objects.aclose)
    return objects


def _open_mirror(
    settings: HistorySettings, frame: ServiceFrame, metrics: HistoryMetrics, replica: str
) -> Mirror:
    if not settings.cache_addresses:
        return NoMirror()
    stubs = {}
    for address in settings.cache_addresses:
        channel = open_channel(address, retries=False)
        frame.resources.push_async_callback(channel.close)
        stubs[address] = cache_pb2_grpc.RecordServiceStub(channel)
    mirror = CacheMirror(
        stubs,
        metrics,
        replica=replica,
        window_s=2 * math.ceil(settings.flush_interval_s) + SHIPPING_S_MAX,
        now_ns=time.time_ns,
        clock=monotonic,
    )
    frame.loops.every(MIRROR_INTERVAL_S, mirror.step, name="mirror")
    return mirror


def _open_policies(settings: HistorySettings, objects: ObjectStore, copy: Path) -> Policies:
    hash_key = settings.hash_key.get_secret_value().encode()
    if not hash_key and Redaction.HASH in (settings.raw_query_redaction, settings.filter_redaction):
        raise ConfigurationError("LAYER_HISTORY_HASH_KEY is needed where redaction is `hash`")
    policies = Policies(
        objects=objects,
        default=Policy(
            query_retention_s=settings.query_retention_s,
            click_retention_s=settings.click_retention_s,
            raw_query=settings.raw_query_redaction,
            filters=settings.filter_redaction,
        ),
        hash_key=hash_key,
        save=lambda body: write_whole(copy, body),
    )
    if copy.exists():
        policies.restore(copy.read_bytes())
    return policies
