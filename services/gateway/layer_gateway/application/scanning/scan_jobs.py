"""Scans that list ids or values: jobs whose results are objects, to be read page by page.

A job outlives the gateway that runs it. Whoever is asked for one that has lost its gateway takes it
up, with the key of the caller who asks, and begins it anew; what the other had read is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from layer_gateway.application.job_records import JobStatus
from layer_gateway.application.jobs import Jobs
from layer_gateway.application.refusals import status_label
from layer_gateway.application.scanning.from_snapshots import ReadSnapshots
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.results import Results
from layer_gateway.application.scanning.scan_job import (
    ScanJob,
    fill,
    request_key,
    result_prefix,
)
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
    PayloadTooLargeError,
    QuotaExceededError,
)
from layer_kit.lost_errors import report_lost
from layer_kit.names import Namespace
from layer_wire.scans import Scan, ScanMode, ScanSource, parse_scan, scan_body

log = structlog.get_logger(__name__)

KEEP_INTERVAL_S: Final = 2.0
REQUEST_BYTES_MAX: Final = 1024 * 1024
"""Of the body of a scan that becomes a job: it is kept beside it."""

RUNNING_MAX: Final = 8
"""Jobs that one gateway runs at once; others wait."""

WAITING_MAX: Final = 100
WAIT_RETRY_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPage:
    """A part of what a scan has found."""

    job: ScanJob
    items: Sequence[Any]
    total: int


class ScanJobs:
    """Starts scans as jobs and tells of them.

    Args:
        lease_s: How long a job is kept without a word of its gateway; it is written more often.
    """

    def __init__(
        self,
        *,
        jobs: Jobs[ScanJob],
        results: Results,
        read_snapshots: ReadSnapshots,
        work_scan: WorkScan,
        observer: ScanObserver,
        monotonic: Monotonic,
        lease_s: float,
    ) -> None:
        self._jobs = jobs
        self._results = results
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
                return await self._answered(request, *found)
        if scan.source is ScanSource.CACHE:
            await self._work_scan.check_cache(request)
        if len(self._tasks) >= RUNNING_MAX + WAITING_MAX:
            raise QuotaExceededError(
                "TOO_MANY_JOBS",
                f"This gateway has {len(self._tasks)} scans to carry out; try again later.",
                retry_after_s=WAIT_RETRY_S,
            )
        job = await self._begin(request)
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
        items, total = await self._results.page(result_prefix(job), offset, limit)
        return ResultPage(job=job, items=items, total=total)

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

    async def _begin(self, request: ScanRequest) -> ScanJob:
        """Make a job, and keep what it was asked beside it."""
        scan = request.scan
        body = scan_body(scan)
        if len(body) > REQUEST_BYTES_MAX:
            raise PayloadTooLargeError(
                "SCAN_TOO_LARGE",
                f"A scan has at most {REQUEST_BYTES_MAX} bytes; this filter is too large.",
                bytes_max=REQUEST_BYTES_MAX,
            )
        job = await self._jobs.begin(
            request.namespace, mode=scan.mode, source=scan.source, field=scan.field or None
        )
        try:
            await self._results.objects.put(request_key(job), body, content_type="application/json")
        except LayerError as error:
            await self._jobs.end(job, error=error.message)
            raise
        return job

    async def _answered(
        self, request: ScanRequest, values: Sequence[tuple[str, int]], report: ScanReport
    ) -> ScanJob:
        """Make a job that has ended with what a snapshot says."""
        watch = Watch(request, self._observer, self._monotonic)
        job = await self._begin(request)
        writer = self._results.writer(result_prefix(job))
        try:
            await writer.add(values)
            job.unique_values = await writer.finish()
        except LayerError as error:
            await self._jobs.end(job, error=error.message)
            raise
        job.truncated = False
        job.documents_scanned = sum(count for _, count in values)
        fill(job, report)
        await self._jobs.end(job)
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
        scan = await self._asked(taken)
        if scan is None:
            await self._jobs.end(taken, error="what it was asked is lost")
            return taken
        self._go(taken, ScanRequest(namespace=Namespace(taken.namespace), scan=scan, caller=caller))
        return taken

    async def _asked(self, job: ScanJob) -> Scan | None:
        found = await self._results.objects.get(request_key(job))
        return None if found is None else parse_scan(found.body)

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
            await self._drop_results(job)  # deleted, or another gateway's by now
            return
        work.fill(job)
        if self._is_closing and error is not None:
            await self._jobs.let_go(job, error=error)
        else:
            await self._jobs.end(job, error=error)
        watch.ended(work.report, job.documents_scanned, status)

    async def _scan(self, job: ScanJob, work: Work) -> None:
        async with self._slots:
            await self._work_scan(work, self._results.writer(result_prefix(job)))

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

    async def _drop_results(self, job: ScanJob) -> None:
        try:
            await self._results.delete(result_prefix(job))
        except (LayerError, msgspec.DecodeError) as error:
            log.warning("results_left", job_id=job.id, message=str(error))
