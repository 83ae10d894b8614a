"""Scans that list ids or values: jobs whose results are objects, to be read page by page.

A job outlives the gateway that runs it. Whoever is asked for one that has lost its gateway takes it
up, with the key of the caller who asks, and begins it anew; what the other had read is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import structlog

from layer_gateway.application.job_records import JobStatus
from layer_gateway.application.refusals import status_label
from layer_gateway.application.room_for_jobs import check_room
from layer_gateway.application.scanning.from_snapshots import ReadSnapshots
from layer_gateway.application.scanning.kept_scans import KeptScans, ResultPage
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.scan_job import ScanJob
from layer_gateway.application.scanning.watch import Watch
from layer_gateway.application.scanning.working import Work, WorkScan
from layer_gateway.domain.scans import ScanReport
from layer_gateway.ports.stores import Caller
from layer_gateway.ports.watching import ScanObserver
from layer_kit.clock import Monotonic
from layer_kit.errors import (
    InvalidRequestError,
    LayerError,
    NotFoundError,
)
from layer_kit.lost_errors import report_lost
from layer_kit.names import Namespace
from layer_wire.scans import ScanMode, ScanSource

log = structlog.get_logger(__name__)

KEEP_INTERVAL_S: Final = 2.0
RUNNING_MAX: Final = 8
"""Jobs that one gateway runs at once; others wait."""

WAITING_MAX: Final = 100


class ScanJobs:
    """Starts scans as jobs and tells of them.

    Args:
        lease_s: How long a job is kept without a word of its gateway; it is written more often.
    """

    def __init__(
        self,
        *,
        kept: KeptScans,
        read_snapshots: ReadSnapshots,
        work_scan: WorkScan,
        observer: ScanObserver,
        monotonic: Monotonic,
        lease_s: float,
    ) -> None:
        self._kept = kept
        self._jobs = kept.jobs
        self._read_snapshots = read_snapshots
        self._work_scan = work_scan
        self._observer = observer
        self._monotonic = monotonic
        self._keep_interval_s = min(KEEP_INTERVAL_S, lease_s / 4)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(RUNNING_MAX)
        self._is_closing = False

    async def start(self, request: ScanRequest) -> ScanJob:
        """Begin a scan; one that a snapshot answers has ended already.

        Raises:
            PreconditionError: ``SNAPSHOT_UNFIT``, ``SNAPSHOT_MISSING``.
            CacheColdError, UnsupportedError: As for ``ReadCached.insist``.
            QuotaExceededError: ``TOO_MANY_JOBS``.
            PayloadTooLargeError: ``SCAN_TOO_LARGE``.
            LayerError: The object store's.
        """
        scan = request.scan
        if scan.mode is ScanMode.VALUES and scan.selector is None:
            found = None
            if scan.source in (ScanSource.AUTO, ScanSource.SNAPSHOT):
                found = await self._read_snapshots.values(request)
            if found is not None:
                return await self._answer(request, *found)
        if scan.source is ScanSource.CACHE:
            await self._work_scan.check_cache(request)
        check_room(self._tasks, RUNNING_MAX + WAITING_MAX, "scans")
        job = await self._kept.begin(request)
        self._go(job, request)
        return job

    async def get(self, namespace: Namespace, scan_id: str, caller: Caller) -> ScanJob:
        """Return a job, and take it up if it has lost its gateway.

        Raises:
            NotFoundError: ``SCAN_NOT_FOUND``.
            LayerError: The object store's.
        """
        job = await self._get(namespace, scan_id)
        return await self._taken_up(job, caller) or job

    async def list(self, namespace: Namespace, caller: Caller) -> Sequence[ScanJob]:
        """Return the jobs of a namespace, oldest first; otherwise as :meth:`get`."""
        jobs = await self._jobs.list(namespace)
        return [await self._taken_up(job, caller) or job for job in jobs]

    async def results(
        self, namespace: Namespace, scan_id: str, *, offset: int, limit: int
    ) -> ResultPage:
        """Return a part of what was found.

        Raises:
            NotFoundError: ``SCAN_NOT_FOUND``.
            InvalidRequestError: ``SCAN_RUNNING``, ``SCAN_FAILED``.
            UpstreamError: ``RESULT_UNREADABLE``, or the object store's.
        """
        job = await self._get(namespace, scan_id)
        if job.status is JobStatus.RUNNING:
            raise InvalidRequestError("SCAN_RUNNING", "Scan is still running", scan_id=scan_id)
        if job.status is JobStatus.FAILED:
            raise InvalidRequestError(
                "SCAN_FAILED", f"Scan has failed: {job.error}", scan_id=scan_id
            )
        return await self._kept.page(job, offset, limit)

    async def delete(self, namespace: Namespace, scan_id: str) -> None:
        """Stop a scan, on whichever gateway it runs, and forget it with what it found.

        Raises:
            NotFoundError: ``SCAN_NOT_FOUND``.
            LayerError: The object store's.
        """
        job = await self._get(namespace, scan_id)
        await self._jobs.delete(job)
        if (task := self._tasks.get(scan_id)) is not None:
            task.cancel()

    async def aclose(self) -> None:
        """Leave what runs to other gateways."""
        self._is_closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._jobs.room.aclose()

    async def _get(self, namespace: Namespace, scan_id: str) -> ScanJob:
        try:
            return await self._jobs.get(namespace, scan_id)
        except NotFoundError as error:
            raise NotFoundError(
                "SCAN_NOT_FOUND",
                f"Namespace {namespace} has no scan {scan_id!r}.",
                namespace=namespace,
                scan_id=scan_id,
            ) from error

    async def _answer(
        self, request: ScanRequest, values: Sequence[tuple[str, int]], report: ScanReport
    ) -> ScanJob:
        watch = Watch(request, self._observer, self._monotonic)
        job = await self._kept.answer(request, values, report)
        watch.ended(report, job.documents_scanned, "ok")
        return job

    async def _taken_up(self, job: ScanJob, caller: Caller) -> ScanJob | None:
        if job.status is not JobStatus.RUNNING or job.id in self._tasks or self._is_closing:
            return None
        if len(self._tasks) >= RUNNING_MAX + WAITING_MAX:
            return None  # another gateway may have room, or this one later
        taken = await self._jobs.take_up(job)
        if taken is None:
            return None
        scan = await self._kept.asked(taken)
        if scan is None:
            await self._jobs.end(taken, error="what it was asked is lost")
            return taken
        self._go(taken, ScanRequest(namespace=Namespace(taken.namespace), scan=scan, caller=caller))
        return taken

    def _go(self, job: ScanJob, request: ScanRequest) -> None:
        task = asyncio.create_task(self._run(job, request))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        task.add_done_callback(report_lost)

    async def _run(self, job: ScanJob, request: ScanRequest) -> None:
        """Do the work of a job and record how it went; nothing that fails goes further."""
        work, watch = Work(request=request), Watch(request, self._observer, self._monotonic)
        is_over = asyncio.Event()
        scanning = asyncio.create_task(self._scan(job, work))
        keeping = asyncio.create_task(self._keep(job, work, is_over, scanning))
        error: str | None = "internal error"
        status = "layer_error"
        try:
            await scanning
            error, status = None, "ok"
        except LayerError as failure:
            error, status = failure.message, status_label(failure)
        except asyncio.CancelledError:
            scanning.cancel()
            error = "the gateway was stopped"
        except Exception:
            log.exception("scan_crashed", namespace=job.namespace, job_id=job.id)
        is_over.set()
        if not await keeping:
            await self._kept.drop_results(job)  # deleted, or another gateway's by now
            return
        work.fill(job)
        if self._is_closing and error is not None:
            await self._jobs.let_go(job, error=error)
        else:
            await self._jobs.end(job, error=error)
        watch.ended(work.report, job.documents_scanned, status)

    async def _scan(self, job: ScanJob, work: Work) -> None:
        async with self._slots:
            await self._work_scan(work, self._kept.writer(job))

    async def _keep(
        self,
        job: ScanJob,
        work: Work,
        is_over: asyncio.Event,
        scanning: asyncio.Task[None],
    ) -> bool:
        """Write a job now and then; stop its work, and tell so, once it is no longer ours.

        Never cancelled, so that no write is outrun by a later one.
        """
        while not is_over.is_set():
            work.fill(job)
            if not await self._jobs.keep(job):
                scanning.cancel()
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), self._keep_interval_s)
        return True
