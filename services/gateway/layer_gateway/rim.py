"""Composition of the rim: the store, the cache, the objects and the history, opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layer.history.v1 import history_pb2_grpc
from layer.runtime.v1 import runtime_pb2_grpc
from layer.snapshots.v1 import snapshots_pb2_grpc
from layer_gateway.adapters.caches import Caches, open_caches
from layer_gateway.adapters.facet_policies import FacetPolicies
from layer_gateway.adapters.functions_service import FunctionsService
from layer_gateway.adapters.history_archive import HistoryArchiveService
from layer_gateway.adapters.history_queue import HistoryQueue
from layer_gateway.adapters.history_spool import (
    DirectorySpool,
    MemorySpool,
    Spool,
    left_behind,
    worker_folder,
)
from layer_gateway.adapters.history_stream import HistoryStream
from layer_gateway.adapters.index_manifests import IndexManifests, NoLabels
from layer_gateway.adapters.latest_snapshots import LatestSnapshotsClient
from layer_gateway.adapters.membership import RENEW_INTERVAL_S
from layer_gateway.adapters.metrics_backend import MetricsBackend
from layer_gateway.adapters.no_functions import NoFunctions
from layer_gateway.adapters.no_history import NoHistory
from layer_gateway.adapters.no_pipelines import NoPipelines
from layer_gateway.adapters.no_snapshots import NoSnapshots
from layer_gateway.adapters.pipelines_service import PipelinesService
from layer_gateway.adapters.reachability import LastSeen
from layer_gateway.adapters.snapshot_archive import SnapshotArchiveService
from layer_gateway.adapters.store import HttpStore
from layer_gateway.adapters.watermark_reports import WatermarkBatches
from layer_gateway.adapters.write_triggers import REFRESH_INTERVAL_S, NoTriggers, TriggerQueue
from layer_gateway.domain.vectorstores import VectorStore
from layer_gateway.metrics import HistoryMetrics, TriggerMetrics
from layer_gateway.pool.worker import this_worker
from layer_gateway.ports.functions import Functions
from layer_gateway.ports.history import HistoryArchive, HistoryRecorder
from layer_gateway.ports.labels import IndexLabels
from layer_gateway.ports.pipelines import Pipelines
from layer_gateway.ports.scanning import LatestSnapshots
from layer_gateway.ports.snapshots import FacetNamespaces, SnapshotArchive, WatermarkReports
from layer_gateway.ports.triggers import WriteTriggers
from layer_gateway.settings import GatewaySettings
from layer_kit.clock import epoch_milliseconds, monotonic
from layer_kit.rpc.client import open_channel
from layer_kit.service import ServiceFrame
from layer_objects import ObjectStore
from layer_upstream import UpstreamClient, UpstreamLimits

HISTORY_PAUSE_S: Final = 0.001
TRIGGERS_PAUSE_S: Final = 0.05
"""Between two steps of the queue, each of which waits for work itself."""

WATERMARKS_PAUSE_S: Final = 0.5
LABELS_LOOK_INTERVAL_S: Final = 2.0

METRICS_CONNECTIONS_MAX: Final = 8
METRICS_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rim:
    """What the use cases reach the world by."""

    store: HttpStore
    last_seen: LastSeen
    cache: Caches
    objects: ObjectStore | None
    recorder: HistoryRecorder
    archive: HistoryArchive
    snapshots: SnapshotArchive
    watermark_reports: WatermarkReports
    latest_snapshots: LatestSnapshots
    facets: FacetNamespaces | None
    functions: Functions
    pipelines: Pipelines
    triggers: WriteTriggers
    labels: IndexLabels


async def open_rim(settings: GatewaySettings, declared: VectorStore, frame: ServiceFrame) -> Rim:
    """Open all of it; the frame closes it."""
    last_seen = LastSeen(epoch_milliseconds)
    store = _open_store(settings, declared, last_seen, frame)
    cache = await _open_cache(settings, frame)
    objects = _open_objects(settings, frame)
    recorder, archive = _open_history(settings, frame)
    snapshots, watermark_reports, latest_snapshots, facets = _open_snapshots(settings, frame)
    functions, pipelines, triggers = _open_runtime(settings, frame)
    return Rim(
        store=store,
        last_seen=last_seen,
        cache=cache,
        objects=objects,
        recorder=recorder,
        archive=archive,
        snapshots=snapshots,
        watermark_reports=watermark_reports,
        latest_snapshots=latest_snapshots,
        facets=facets,
        functions=functions,
        pipelines=pipelines,
        triggers=triggers,
        labels=_open_labels(settings, frame),
    )


def open_metrics_backend(settings: GatewaySettings, frame: ServiceFrame) -> MetricsBackend | None:
    if not settings.metrics_backend_url:
        return None
    limits = UpstreamLimits(
        connections_max=METRICS_CONNECTIONS_MAX,
        read_timeout_s=METRICS_TIMEOUT_S,
        total_timeout_s=METRICS_TIMEOUT_S,
    )
    client = UpstreamClient(settings.metrics_backend_url, limits)
    frame.resources.push_async_callback(client.aclose)
    return MetricsBackend(client)


def _open_store(
    settings: GatewaySettings, declared: VectorStore, last_seen: LastSeen, frame: ServiceFrame
) -> HttpStore:
    limits = UpstreamLimits(
        connections_max=settings.upstream_connections_max,
        read_timeout_s=settings.upstream_timeout_s,
        total_timeout_s=settings.upstream_timeout_s,
    )
    client = UpstreamClient(declared.url, limits, registry=frame.registry)
    frame.resources.push_async_callback(client.aclose)
    return HttpStore(client, last_seen, api_key=declared.token)


async def _open_cache(settings: GatewaySettings, frame: ServiceFrame) -> Caches:
    caches, channels = await open_caches(
        settings.cache_addresses,
        lookup_timeout_s=settings.cache_timeout_s,
        write_timeout_s=settings.upstream_timeout_s,
        monotonic=monotonic,
        registry=frame.registry,
    )
    for channel in channels:
        frame.resources.push_async_callback(channel.close)
    frame.resources.push_async_callback(caches.aclose)
    for number, membership in enumerate(caches.memberships):
        frame.loops.every(RENEW_INTERVAL_S, membership.keep, name=f"cache_membership_{number}")
    return caches


def _open_labels(settings: GatewaySettings, frame: ServiceFrame) -> IndexLabels:
    if not settings.index_file:
        return NoLabels()
    labels = IndexManifests(settings.index_file)
    frame.loops.every(LABELS_LOOK_INTERVAL_S, labels.look, name="index_labels")
    return labels


def _open_objects(settings: GatewaySettings, frame: ServiceFrame) -> ObjectStore | None:
    objects = settings.open_objects(frame.registry)
    if objects is not None:
        frame.resources.push_async_callback(objects.aclose)
    return objects


def _open_history(
    settings: GatewaySettings, frame: ServiceFrame
) -> tuple[HistoryRecorder, HistoryArchive]:
    if not settings.history_address:
        none = NoHistory()
        return none, none
    channel = open_channel(settings.history_address)
    frame.resources.push_async_callback(channel.close)
    stub = history_pb2_grpc.HistoryServiceStub(channel)
    metrics = HistoryMetrics(frame.registry)
    queue = HistoryQueue(HistoryStream(stub), _open_spool(settings), metrics, clock=monotonic)
    metrics.watch(lambda: queue.queued_count, lambda: queue.spooled_bytes)
    frame.loops.every(HISTORY_PAUSE_S, queue.step, name="history")
    frame.resources.push_async_callback(queue.close, settings.shutdown_grace_s / 2)
    return queue, HistoryArchiveService(stub, timeout_s=settings.history_timeout_s)


def _open_runtime(
    settings: GatewaySettings, frame: ServiceFrame
) -> tuple[Functions, Pipelines, WriteTriggers]:
    if not settings.runtime_address:
        return NoFunctions(), NoPipelines(), NoTriggers()
    channel = open_channel(settings.runtime_address)
    frame.resources.push_async_callback(channel.close)
    stub = runtime_pb2_grpc.FunctionServiceStub(channel)
    metrics = TriggerMetrics(frame.registry)
    triggers = TriggerQueue(stub, metrics)
    metrics.watch(lambda: triggers.queued_count)
    frame.loops.every(REFRESH_INTERVAL_S, triggers.refresh, name="triggers_watched")
    frame.loops.every(TRIGGERS_PAUSE_S, triggers.step, name="triggers")
    frame.resources.push_async_callback(triggers.close, settings.shutdown_grace_s / 2)
    timeout_s = settings.runtime_timeout_s
    pipelines = PipelinesService(runtime_pb2_grpc.PipelineServiceStub(channel), timeout_s=timeout_s)
    return FunctionsService(stub, timeout_s=timeout_s), pipelines, triggers


def _open_snapshots(
    settings: GatewaySettings, frame: ServiceFrame
) -> tuple[SnapshotArchive, WatermarkReports, LatestSnapshots, FacetNamespaces | None]:
    if not settings.snapshots_address:
        none = NoSnapshots()
        return none, none, none, None
    channel = open_channel(settings.snapshots_address)
    frame.resources.push_async_callback(channel.close)
    stub = snapshots_pb2_grpc.SnapshotsServiceStub(channel)
    batches = WatermarkBatches(stub)
    frame.loops.every(WATERMARKS_PAUSE_S, batches.send, name="watermark_reports")
    latest = LatestSnapshotsClient(stub, monotonic=monotonic)
    frame.resources.push_async_callback(latest.aclose)
    timeout_s = settings.snapshots_timeout_s
    archive = SnapshotArchiveService(stub, timeout_s=timeout_s)
    return archive, batches, latest, FacetPolicies(stub, timeout_s=timeout_s)


def _open_spool(settings: GatewaySettings) -> Spool:
    bytes_max = settings.history_spool_bytes_max
    if not settings.history_spool_directory:
        return MemorySpool(bytes_max)
    directory, worker = Path(settings.history_spool_directory), this_worker()
    folder = directory if worker is None else worker_folder(directory, worker.number)
    spool = DirectorySpool(folder, bytes_max)
    if worker is None or worker.number == 0:
        for left in left_behind(directory, 0 if worker is None else settings.workers):
            spool.adopt(left)
    return spool
