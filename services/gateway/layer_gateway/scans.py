"""Composition of scans: counts, and jobs that list ids and values."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layer_gateway.adapters.spool_file import SpoolFile
from layer_gateway.application.facts import Facts
from layer_gateway.application.jobs import Jobs
from layer_gateway.application.plans import MakePlans
from layer_gateway.application.scanning.by_id import ReadById
from layer_gateway.application.scanning.cached import ReadCached
from layer_gateway.application.scanning.cached_values import CountCachedValues
from layer_gateway.application.scanning.counting import CountRows
from layer_gateway.application.scanning.from_snapshots import ReadSnapshots
from layer_gateway.application.scanning.kept_scans import KeptScans
from layer_gateway.application.scanning.ranked import ReadRanked
from layer_gateway.application.scanning.results import Results
from layer_gateway.application.scanning.running import RunScan
from layer_gateway.application.scanning.scan_job import ScanJob
from layer_gateway.application.scanning.scan_jobs import ScanJobs
from layer_gateway.application.scanning.working import WorkScan
from layer_gateway.application.strong import StrongNamespaces
from layer_gateway.application.warm_jobs import WarmJobs
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.metrics import ScanMetrics
from layer_gateway.rim import Rim
from layer_gateway.settings import GatewaySettings
from layer_kit.clock import epoch_milliseconds, monotonic
from layer_kit.service import ServiceFrame
from layer_objects import ObjectStore, open_object_store

ATTEMPTS_MAX: Final = 3
"""Gateways that begin a scan, one after the other."""

EXPIRE_INTERVAL_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scans:
    """The use cases of scans."""

    count: CountRows
    jobs: ScanJobs
    count_cached_values: CountCachedValues


def compose_scans(
    settings: GatewaySettings,
    frame: ServiceFrame,
    rim: Rim,
    *,
    facts: Facts,
    watermarks: Watermarks,
    warm_jobs: WarmJobs,
    store_name: str,
) -> Scans:
    """Build them, and start what they do by themselves."""
    read_snapshots = ReadSnapshots(snapshots=rim.latest_snapshots, facts=facts)
    read_cached = ReadCached(
        rows=rim.cache.rows,
        scans=rim.cache.scans,
        warmth=rim.cache.warmth,
        facts=facts,
        watermarks=watermarks,
        warm_jobs=warm_jobs,
        store_name=store_name,
    )
    run_scan = RunScan(
        store=rim.store,
        plans=MakePlans(
            facts=facts, strong_namespaces=StrongNamespaces(settings.strong_namespaces)
        ),
        watermarks=watermarks,
        read_by_id=ReadById(facts=facts),
        read_ranked=ReadRanked(),
        read_cached=read_cached,
        threads_default=settings.scan_threads,
    )
    observer = ScanMetrics(frame.registry)
    results = Results(rim.objects or _open_local(frame))
    jobs = Jobs(
        "scan",
        ScanJob,
        rim.objects,
        now_ms=epoch_milliseconds,
        abandoned_ms=round(settings.scan_lease_s * 1000),
        attempts_max=ATTEMPTS_MAX,
        removed=results.delete_job,
    )
    scan_jobs = ScanJobs(
        kept=KeptScans(jobs=jobs, results=results),
        read_snapshots=read_snapshots,
        work_scan=WorkScan(
            run_scan=run_scan,
            store=rim.store,
            facts=facts,
            open_spool=functools.partial(
                SpoolFile,
                settings.scan_spool_directory,
                bytes_max=settings.scan_spool_bytes_max,
            ),
        ),
        observer=observer,
        monotonic=monotonic,
        lease_s=settings.scan_lease_s,
    )
    frame.resources.push_async_callback(scan_jobs.aclose)

    async def expire() -> None:
        await jobs.expire(round(settings.scan_results_ttl_s * 1000))

    frame.loops.every(EXPIRE_INTERVAL_S, expire, name="scan_expiry")
    count = CountRows(
        read_snapshots=read_snapshots, run_scan=run_scan, observer=observer, monotonic=monotonic
    )
    return Scans(
        count=count,
        jobs=scan_jobs,
        count_cached_values=CountCachedValues(read_cached=read_cached),
    )


def _open_local(frame: ServiceFrame) -> ObjectStore:
    """Open a folder for results that ends with the process, as do the jobs that it knows of."""
    folder = tempfile.TemporaryDirectory(prefix="layer-scans-")
    frame.resources.callback(folder.cleanup)
    objects = open_object_store(Path(folder.name).as_uri())
    frame.resources.push_async_callback(objects.aclose)
    return objects
