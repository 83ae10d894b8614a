"""Composition root: it and ``entrance`` alone name concrete classes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from prometheus_client import Gauge

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer.history.v1 import history_pb2_grpc
from layer_gateway.adapters.caches import Caches, open_caches
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
from layer_gateway.adapters.membership import RENEW_INTERVAL_S
from layer_gateway.adapters.metrics_backend import MetricsBackend
from layer_gateway.adapters.no_history import NoHistory
from layer_gateway.adapters.reachability import LastSeen
from layer_gateway.adapters.store import HttpStore
from layer_gateway.application.blobs import Blobs
from layer_gateway.application.cache_states import CacheStates
from layer_gateway.application.facts import Facts
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.history import History
from layer_gateway.application.initialising import BackfillSettings, InitNamespace
from layer_gateway.application.jobs import Jobs
from layer_gateway.application.joined_reads import JoinedReads
from layer_gateway.application.layer_state import DescribeLayer
from layer_gateway.application.listings import Listings
from layer_gateway.application.mirroring import MirrorSnapshot
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.application.purging import PurgeNamespace
from layer_gateway.application.sharding import Shards
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.streaming import StreamRows
from layer_gateway.application.warm_jobs import WarmJobs
from layer_gateway.application.warming import WarmNamespace
from layer_gateway.application.watermarks import WatchSettings, Watermarks
from layer_gateway.application.writing import WriteRows
from layer_gateway.data_metrics import DataMetrics
from layer_gateway.domain.vectorstores import VectorStore
from layer_gateway.entrance import admission, declared_stores, draining
from layer_gateway.http.budget import BodyBudget
from layer_gateway.http.edge import Edge, http_edge
from layer_gateway.http.handlers.blobs import BlobHandlers
from layer_gateway.http.handlers.documents import DocumentHandlers
from layer_gateway.http.handlers.editions import EditionHandlers
from layer_gateway.http.handlers.history import HistoryHandlers
from layer_gateway.http.handlers.metrics import MetricHandlers
from layer_gateway.http.handlers.namespaces import NamespaceHandlers
from layer_gateway.http.handlers.rows import RowHandlers
from layer_gateway.http.handlers.searches import SearchHandlers
from layer_gateway.http.handlers.vectorstores import VectorStoreHandlers
from layer_gateway.http.handlers.warming import WarmHandlers
from layer_gateway.http.passthrough import Passthrough
from layer_gateway.metrics import (
    EdgeMetrics,
    HistoryMetrics,
    WarmMetrics,
    WatermarkMetrics,
)
from layer_gateway.pool.marks import MarkTable
from layer_gateway.pool.worker import this_worker
from layer_gateway.ports import HistoryArchive, HistoryRecorder
from layer_gateway.queries import compose_queries
from layer_gateway.rpc.servicer import GatewayServicer
from layer_gateway.settings import GatewaySettings
from layer_kit.clock import epoch_milliseconds, monotonic
from layer_kit.process import Addresses
from layer_kit.rpc.client import open_channel
from layer_kit.service import ServiceFrame, service_frame
from layer_kit.telemetry.metrics import Exposition, exposition_of
from layer_objects import ObjectStore
from layer_upstream import UpstreamClient, UpstreamLimits

HISTORY_PAUSE_S: Final = 0.001
"""Between two steps of the queue, each of which waits for work itself."""
STATES_INTERVAL_S: Final = 1.0

METRICS_CONNECTIONS_MAX: Final = 8
METRICS_TIMEOUT_S: Final = 30.0
POOL_TIMEOUT_S: Final = 5.0


@asynccontextmanager
async def serving(settings: GatewaySettings) -> AsyncIterator[Addresses]:
    """Run the gateway for the length of the block; yield what it listens on."""
    async with service_frame(settings) as frame:
        stores = declared_stores(settings)
        last_seen = LastSeen(epoch_milliseconds)
        store = _open_store(settings, stores.default, last_seen, frame)
        cache = await _open_cache(settings, frame)
        objects = _open_objects(settings, frame)
        shards = Shards(
            store, objects, shard_count_default=settings.shard_count, monotonic=monotonic
        )
        facts = Facts(store, shards, ttl_s=settings.facts_ttl_s, monotonic=monotonic)
        stamps = Stamps(epoch_milliseconds)
        watermarks = _open_watermarks(settings, frame, store, stamps)
        reads = JoinedReads(store=store, cache=cache.rows, facts=facts)
        states = CacheStates(cache.rows, cache.warmth)
        warm_namespace = WarmNamespace(
            store=store,
            hints=store,
            cache=cache.rows,
            warmth=cache.warmth,
            facts=facts,
            watermarks=watermarks,
            stream_rows=StreamRows(store=store, facts=facts),
            reads=reads,
            mirror=MirrorSnapshot(objects=objects, records=cache.records),
        )
        warm_jobs = _open_warm_jobs(settings, frame, warm_namespace, objects, states)
        fetch = FetchRows(cache=cache.rows, facts=facts, reads=reads, missed=warm_jobs.missed)
        listings = Listings(ttl_s=settings.namespace_list_cache_ttl_ms / 1000, monotonic=monotonic)
        write = WriteRows(
            store=store,
            cache=cache.rows,
            facts=facts,
            stamps=stamps,
            watermarks=watermarks,
            listings=listings,
            store_name=stores.default.name,
        )
        recorder, archive = _open_history(settings, frame)
        history = History(recorder=recorder, now_ns=time.time_ns)
        describe_layer = DescribeLayer(shards=shards, watermarks=watermarks)
        namespaces = Namespaces(
            store=store,
            cache=cache.rows,
            facts=facts,
            watermarks=watermarks,
            describe_layer=describe_layer,
            purge=PurgeNamespace(archive=archive, objects=objects),
            states=states,
            listings=listings,
            now_ms=epoch_milliseconds,
        )
        init_namespace = InitNamespace(
            store=store,
            cache=cache.rows,
            facts=facts,
            shards=shards,
            describe_layer=describe_layer,
            settings=BackfillSettings(
                batch_size=settings.init_backfill_batch_size,
                requests_per_s=settings.init_backfill_rps,
            ),
            monotonic=monotonic,
        )
        queries = compose_queries(
            settings,
            frame.registry,
            store=store,
            facts=facts,
            watermarks=watermarks,
            fetch=fetch,
            namespaces=namespaces,
        )
        query_bytes_max = min(settings.query_body_bytes_max, settings.body_bytes_max)
        passthrough = Passthrough(store, body_bytes_max=settings.body_bytes_max)
        rows = RowHandlers(
            write_rows=write,
            answer_query=queries.ask,
            query_legs=queries.legs,
            passthrough=passthrough,
            history=history,
            body_bytes_max=settings.body_bytes_max,
            query_body_bytes_max=query_bytes_max,
        )
        documents = DocumentHandlers(
            fetch_rows=fetch, history=history, body_bytes_max=query_bytes_max
        )
        administration = NamespaceHandlers(
            namespaces=namespaces,
            init_namespace=init_namespace,
            facts=facts,
            cache=cache.rows,
            passthrough=passthrough,
            body_bytes_max=settings.body_bytes_max,
        )
        searches = SearchHandlers(
            query_namespaces=queries.federate,
            store_name=stores.default.name,
            body_bytes_max=query_bytes_max,
        )
        warming = WarmHandlers(warm_jobs=warm_jobs, passthrough=passthrough)
        metrics = MetricHandlers(source=_open_metrics(settings, frame))
        is_draining = draining(settings, frame.health)
        door = admission(settings, stores.default, is_draining)
        edge = Edge(
            {
                **rows.table(),
                **searches.table(),
                **documents.table(),
                **administration.table(),
                **BlobHandlers(blobs=Blobs(objects=objects)).table(),
                **VectorStoreHandlers(stores=stores, reachability=last_seen).table(),
                **metrics.table(),
                **EditionHandlers(store_name=stores.default.name).table(),
                **HistoryHandlers(archive=archive).table(),
                **warming.table(),
            },
            cache_states=states,
            admission=door,
            is_draining=is_draining,
            health=frame.health,
            exposition=_exposition(frame),
            metrics=EdgeMetrics(frame.registry),
            data=DataMetrics(frame.registry),
        )
        frame.addresses["http"] = await frame.resources.enter_async_context(
            http_edge(
                edge,
                settings.http_address,
                body_bytes_max=settings.body_bytes_max,
                patience_s=settings.request_patience_s,
                budget=_open_budget(settings, frame),
                shutdown_grace_s=settings.shutdown_grace_s,
                reuse_port=this_worker() is not None,
            )
        )
        servicer = GatewayServicer(
            admission=door,
            facts=facts,
            write_rows=write,
            answer_query=queries.ask,
            query_legs=queries.legs,
            query_namespaces=queries.federate,
            history=history,
            fetch_rows=fetch,
            stream_rows=StreamRows(store=store, facts=facts),
            namespaces=namespaces,
            init_namespace=init_namespace,
            warm_jobs=warm_jobs,
        )
        await frame.serve_grpc(
            settings.grpc_address,
            [gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]],
            lambda server: gateway_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, server),
            reuse_port=this_worker() is not None,
        )
        frame.started()
        yield frame.addresses


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


def _open_budget(settings: GatewaySettings, frame: ServiceFrame) -> BodyBudget:
    budget = BodyBudget(settings.bodies_bytes_max)
    held = Gauge(
        "layer_http_body_bytes",
        "Bytes of larger request bodies in hand.",
        registry=frame.registry,
    )
    held.set_function(lambda: budget.held_bytes)
    return budget


def _exposition(frame: ServiceFrame) -> Exposition:
    """Return what the edge shows as metrics: a worker shows those of its pool."""
    alone = exposition_of(frame.registry)
    worker = this_worker()
    if worker is None:
        return alone
    limits = UpstreamLimits(connections_max=1, total_timeout_s=POOL_TIMEOUT_S)
    client = UpstreamClient(f"http://{worker.pool_address}", limits)
    frame.resources.push_async_callback(client.aclose)

    async def of_pool() -> bytes:
        return (await client.request(b"GET", b"/metrics", ())).body

    return of_pool


def _open_metrics(settings: GatewaySettings, frame: ServiceFrame) -> MetricsBackend | None:
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


def _open_warm_jobs(
    settings: GatewaySettings,
    frame: ServiceFrame,
    warm_namespace: WarmNamespace,
    objects: ObjectStore | None,
    states: CacheStates,
) -> WarmJobs:
    warm_jobs = WarmJobs(
        warm=warm_namespace,
        jobs=Jobs("warm", objects, now_ms=epoch_milliseconds),
        states=states,
        is_reactive=settings.reactive_warm,
        monotonic=monotonic,
        ended=WarmMetrics(frame.registry, lambda: states.known).ended,
    )
    frame.resources.push_async_callback(warm_jobs.aclose)
    frame.loops.every(STATES_INTERVAL_S, states.refresh, name="cache_states")
    return warm_jobs


def _open_watermarks(
    settings: GatewaySettings, frame: ServiceFrame, store: HttpStore, stamps: Stamps
) -> Watermarks:
    worker = this_worker()
    table = None if worker is None else MarkTable(worker.marks_fd)
    if table is not None:
        frame.resources.callback(table.close)
    interval_s = settings.consistency_poll_interval_ms / 1000
    watermarks = Watermarks(
        store,
        stamps,
        WatchSettings(
            interval_s=interval_s,
            stable_interval_s=settings.consistency_stable_poll_interval_ms / 1000,
            safety_margin_ms=settings.consistency_safety_margin_ms,
        ),
        monotonic=monotonic,
        polled=WatermarkMetrics(frame.registry).polled,
        shared=table,
    )
    frame.resources.push_async_callback(watermarks.aclose)
    frame.loops.every(interval_s, watermarks.poll, name="watermarks")
    return watermarks


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
