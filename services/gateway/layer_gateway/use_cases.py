"""Composition of what a caller can want: the use cases, over a rim that is already open."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from layer_gateway.application.blob_warming import BlobReferences, WarmBlobs
from layer_gateway.application.blobs import Blobs
from layer_gateway.application.cache_states import CacheStates
from layer_gateway.application.facts import Facts
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.hinting import WarmCaches
from layer_gateway.application.history import History
from layer_gateway.application.initialising import BackfillSettings, InitNamespace
from layer_gateway.application.job_records import Job
from layer_gateway.application.jobs import Jobs
from layer_gateway.application.joined_reads import JoinedReads
from layer_gateway.application.layer_state import DescribeLayer
from layer_gateway.application.listings import Listings
from layer_gateway.application.migrating import MigrateNamespace
from layer_gateway.application.mirroring import MirrorSnapshot
from layer_gateway.application.namespaces import Namespaces
from layer_gateway.application.purging import PurgeNamespace
from layer_gateway.application.sharding import Shards
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.stores import DescribeStores
from layer_gateway.application.streaming import StreamRows
from layer_gateway.application.warm_jobs import WarmJobs
from layer_gateway.application.warming import WarmNamespace
from layer_gateway.application.watched import WatchSettings
from layer_gateway.application.watching_facets import WATCH_FACETS_INTERVAL_S, WatchFacets
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.application.writing import WriteRows
from layer_gateway.domain.vectorstores import VectorStores
from layer_gateway.entrance import configured_services
from layer_gateway.metrics import WarmMetrics, WatermarkMetrics
from layer_gateway.pool.flights import FlightTable
from layer_gateway.pool.marks import MarkTable
from layer_gateway.pool.worker import this_worker
from layer_gateway.ports.history import HistoryArchive
from layer_gateway.queries import Queries, compose_queries
from layer_gateway.rim import Rim
from layer_gateway.scans import Scans, compose_scans
from layer_gateway.settings import GatewaySettings
from layer_kit.clock import epoch_milliseconds, monotonic
from layer_kit.service import ServiceFrame
from layer_objects import ObjectStore

STATES_INTERVAL_S: Final = 1.0
CLOCKS_DIFFER_S: Final = 5.0
"""By how much those of gateways may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """What both doors answer with."""

    facts: Facts
    write: WriteRows
    queries: Queries
    fetch: FetchRows
    stream_rows: StreamRows
    namespaces: Namespaces
    init_namespace: InitNamespace
    migrate_namespace: MigrateNamespace
    warm_jobs: WarmJobs
    warm_caches: WarmCaches
    scans: Scans
    states: CacheStates
    blobs: Blobs
    history: History
    archive: HistoryArchive
    describe_stores: DescribeStores


def compose_use_cases(
    settings: GatewaySettings, frame: ServiceFrame, rim: Rim, stores: VectorStores
) -> UseCases:
    """Build them, and start what they do by themselves.

    Raises:
        ConfigurationError: When embedding profiles are named that cannot be read.
    """
    store, cache = rim.store, rim.cache
    shards = Shards(
        store,
        rim.objects,
        shard_count_default=settings.shard_count,
        settle_s=settings.facts_ttl_s + settings.upstream_timeout_s + CLOCKS_DIFFER_S,
        monotonic=monotonic,
        now_ms=epoch_milliseconds,
    )
    facts = Facts(store, shards, ttl_s=settings.facts_ttl_s, monotonic=monotonic)
    stamps = _compose_stamps(frame)
    watermarks = _compose_watermarks(settings, frame, rim, stamps, facts)
    reads = JoinedReads(store=store, cache=cache.rows, facts=facts)
    states = CacheStates(cache.rows, cache.warmth)
    stream_rows = StreamRows(store=store, facts=facts)
    warm_namespace = WarmNamespace(
        store=store,
        hints=store,
        cache=cache.rows,
        warmth=cache.warmth,
        facts=facts,
        watermarks=watermarks,
        stream_rows=stream_rows,
        reads=reads,
        mirror=MirrorSnapshot(objects=rim.objects, records=cache.records),
    )
    warm_jobs = _compose_warm_jobs(settings, frame, warm_namespace, rim.objects, states)
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
        triggers=rim.triggers,
    )
    describe_layer = DescribeLayer(shards=shards, watermarks=watermarks, snapshots=rim.snapshots)
    namespaces = Namespaces(
        store=store,
        cache=cache.rows,
        facts=facts,
        watermarks=watermarks,
        describe_layer=describe_layer,
        purge=PurgeNamespace(archive=rim.archive, snapshots=rim.snapshots, objects=rim.objects),
        states=states,
        listings=listings,
        labels=rim.labels,
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
    scans = compose_scans(
        settings,
        frame,
        rim,
        facts=facts,
        watermarks=watermarks,
        warm_jobs=warm_jobs,
        store_name=stores.default.name,
    )
    migrate_namespace = MigrateNamespace(
        init_namespace=init_namespace,
        objects=rim.objects,
        shard_count_default=settings.shard_count,
        now_ms=epoch_milliseconds,
    )
    frame.resources.push_async_callback(migrate_namespace.aclose)
    blobs = Blobs(objects=rim.objects, cache=cache.rows, records=cache.records)
    warm_blobs = WarmBlobs(
        blobs=blobs,
        facts=facts,
        stream_rows=stream_rows,
        references=BlobReferences(settings.blob_reference_attributes),
    )
    frame.resources.push_async_callback(warm_blobs.aclose)
    return UseCases(
        facts=facts,
        write=write,
        queries=queries,
        fetch=fetch,
        stream_rows=stream_rows,
        namespaces=namespaces,
        init_namespace=init_namespace,
        migrate_namespace=migrate_namespace,
        warm_jobs=warm_jobs,
        warm_caches=WarmCaches(warm_jobs=warm_jobs, warm_blobs=warm_blobs),
        scans=scans,
        states=states,
        blobs=blobs,
        history=History(recorder=rim.recorder, now_ns=time.time_ns),
        archive=rim.archive,
        describe_stores=DescribeStores(
            stores=stores, reachability=rim.last_seen, configured=configured_services(settings)
        ),
    )


def _compose_stamps(frame: ServiceFrame) -> Stamps:
    worker = this_worker()
    if worker is None:
        return Stamps(epoch_milliseconds)
    flights = FlightTable(worker.flights_fd, worker.number)
    frame.resources.callback(flights.close)
    return Stamps(epoch_milliseconds, shared=flights)


def _compose_watermarks(
    settings: GatewaySettings, frame: ServiceFrame, rim: Rim, stamps: Stamps, facts: Facts
) -> Watermarks:
    worker = this_worker()
    table = None if worker is None else MarkTable(worker.marks_fd)
    if table is not None:
        frame.resources.callback(table.close)
    interval_s = settings.consistency_poll_interval_ms / 1000
    watermarks = Watermarks(
        rim.store,
        stamps,
        WatchSettings(
            interval_s=interval_s,
            stable_interval_s=settings.consistency_stable_poll_interval_ms / 1000,
            safety_margin_ms=settings.consistency_safety_margin_ms,
        ),
        monotonic=monotonic,
        polled=WatermarkMetrics(frame.registry).polled,
        advanced=rim.watermark_reports.advanced,
        deleted=facts.forget,
        shared=table,
    )
    frame.resources.push_async_callback(watermarks.aclose)
    frame.loops.every(interval_s, watermarks.poll, name="watermarks")
    # One process of a pool is enough: the others read what it learns.
    if rim.facets is not None and rim.store.has_own_key and (worker is None or worker.number == 0):
        watch_facets = WatchFacets(facets=rim.facets, watermarks=watermarks)
        frame.loops.every(WATCH_FACETS_INTERVAL_S, watch_facets, name="facets_watched")
    return watermarks


def _compose_warm_jobs(
    settings: GatewaySettings,
    frame: ServiceFrame,
    warm_namespace: WarmNamespace,
    objects: ObjectStore | None,
    states: CacheStates,
) -> WarmJobs:
    warm_jobs = WarmJobs(
        warm=warm_namespace,
        jobs=Jobs("warm", Job, objects, now_ms=epoch_milliseconds),
        states=states,
        is_reactive=settings.reactive_warm,
        monotonic=monotonic,
        ended=WarmMetrics(frame.registry, lambda: states.known).ended,
    )
    frame.resources.push_async_callback(warm_jobs.aclose)
    frame.loops.every(STATES_INTERVAL_S, states.refresh, name="cache_states")
    return warm_jobs
