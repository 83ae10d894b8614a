"""Runs the jobs that count one field: from the latest snapshot, or by reading rows."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import LayerError, PreconditionError, QuotaExceededError
from layer_kit.names import Namespace
from layer_snapshots.application.bodies import Bodies
from layer_snapshots.application.jobs import HeldJob, JobLostError, Jobs
from layer_snapshots.application.latest import Latest
from layer_snapshots.domain.content import Body, Counting, Snapshot, body_of, content_of
from layer_snapshots.domain.jobs import Job, JobStatus, Source
from layer_snapshots.domain.limits import (
    JOB_ATTEMPTS_MAX,
    JOBS_RUNNING_MAX,
    REQUEST_REMEMBERED_MS,
)
from layer_snapshots.ports import NamespaceFigures, Rows, Wanted

log = structlog.get_logger(__name__)

AT_ONCE_MAX: Final = 4
WATERMARK_PATIENCE_S: Final = 5.0
"""A gateway that has just been told of a namespace knows its watermark within moments."""

WATERMARK_PAUSE_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """What is to be counted."""

    namespace: Namespace
    field: str
    source: Source
    filter: bytes
    page_size: int
    request_id: str


@dataclass(slots=True, kw_only=True)
class CountingJobs:
    """Starts jobs, and goes on with those that have lost their process.

    Args:
        ended: Told how each job ended, by one word.
        keep_interval_s: How often a job that runs is written.
    """

    jobs: Jobs
    rows: Rows
    bodies: Bodies
    latest: Latest
    now_ms: EpochMilliseconds
    ended: Callable[[str], None]
    keep_interval_s: float
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE_MAX))
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a job is started, so that a request that comes twice starts one."""

    async def start(self, wanted: JobRequest, authorization: str) -> Job:
        """Start a job; return it, or the one that this very request has started before.

        Raises:
            QuotaExceededError: ``TOO_MANY_JOBS``.
            UpstreamError: The object store's own.
        """
        async with self._starting:
            if wanted.request_id and (earlier := await self._earlier(wanted)) is not None:
                return earlier
            if len(self._tasks) >= JOBS_RUNNING_MAX:
                raise QuotaExceededError(
                    "TOO_MANY_JOBS",
                    f"{len(self._tasks)} jobs run or wait already; try again later.",
                    retry_after_s=5.0,
                    count_max=JOBS_RUNNING_MAX,
                )
            now_ms = self.now_ms()
            job = Job(
                id=str(uuid.uuid4()),
                namespace=wanted.namespace,
                field=wanted.field,
                source=wanted.source,
                created_ms=now_ms,
                heard_ms=now_ms,
                filter=wanted.filter,
                page_size=wanted.page_size,
                request_id=wanted.request_id,
                owner=self.jobs.owner,
            )
            held = await self.jobs.begin(job)
            self._go(self._run(held, authorization))
            return job

    async def adopt(self) -> None:
        """Go on with what has lost its process, or say that it cannot be gone on with.

        Raises:
            UpstreamError: The object store's own.
        """
        if len(self._tasks) >= JOBS_RUNNING_MAX:
            return
        async for held in self.jobs.abandoned():
            log.info("job_adopted", job_id=held.job.id, attempts=held.job.attempts)
            self._go(self._resume(held))

    async def aclose(self) -> None:
        """Stop what runs, and leave it to whoever adopts it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _earlier(self, wanted: JobRequest) -> Job | None:
        since_ms = self.now_ms() - REQUEST_REMEMBERED_MS
        for job in await self.jobs.list(wanted.namespace):
            if job.request_id == wanted.request_id and job.created_ms >= since_ms:
                return job
        return None

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resume(self, held: HeldJob) -> None:
        if held.job.attempts > JOB_ATTEMPTS_MAX:
            await self._end(held, "each of the processes that ran it has ended")
        elif not self.rows.has_key:
            await self._end(
                held, "the process that ran it has ended, and with it the key it was asked with"
            )
        else:
            await self._run(held, "")

    async def _run(self, held: HeldJob, authorization: str) -> None:
        """Do the work of a job and record how it went; nothing that fails goes further."""
        is_over = asyncio.Event()
        work = asyncio.current_task()
        assert work is not None
        keeping = asyncio.create_task(self._keep(held, is_over, work))
        error: str | None = "internal error"
        try:
            async with self._slots:
                await self._count(held.job, authorization)
            error = None
        except LayerError as failure:
            error = failure.message
        except asyncio.CancelledError:  # it was lost, or this process stops: it is not over
            self.jobs.let_go(held)
            raise
        except Exception:
            log.exception("job_crashed", job_id=held.job.id)
        finally:
            is_over.set()
            await asyncio.gather(keeping, return_exceptions=True)
        await self._end(held, error)

    async def _end(self, held: HeldJob, error: str | None) -> None:
        job = held.job
        job.status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
        job.error, job.completed_ms = error, self.now_ms()
        if error is None:
            job.progress = 1.0
        self.ended(job.status.value)
        try:
            await self.jobs.end(held)
        except JobLostError:
            self.jobs.let_go(held)
        except LayerError as failure:  # whoever adopts it does it again
            self.jobs.let_go(held)
            log.warning("job_not_ended", job_id=job.id, reason=failure.reason)

    async def _keep(self, held: HeldJob, is_over: asyncio.Event, work: asyncio.Task[None]) -> None:
        """Write a job now and then; end its work when it is lost."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), self.keep_interval_s)
                return
            try:
                await self.jobs.keep(held)
            except JobLostError:
                work.cancel()
                return
            except LayerError as error:
                log.warning("job_not_written", job_id=held.job.id, reason=error.reason)

    async def _count(self, job: Job, authorization: str) -> None:
        stored = await self._stored(job)
        if stored is not None:
            counts = stored.counts[job.field]
            job.effective_source, job.sha = Source.STORED, stored.body.sha
            job.stable_as_of = stored.body.watermark_ms
            job.documents_scanned = sum(counts.values())
            return
        if job.source is not Source.ORIGIN and await self._read_cached(job, authorization):
            return
        if job.source is Source.CACHE:
            raise PreconditionError(
                "CACHE_NOT_WHOLE",
                "the cache does not hold the namespace as a whole, or cannot tell which rows match",
            )
        await self._read(job, authorization)

    async def _stored(self, job: Job) -> Snapshot | None:
        """Return the latest snapshot if the job is to be answered from it.

        Raises:
            PreconditionError: ``NOT_STORED``, when it must be and cannot.
        """
        if job.source not in (Source.AUTO, Source.STORED) or (
            job.filter and job.source is Source.AUTO
        ):
            return None
        found = await self.latest.find(Namespace(job.namespace))
        if not job.filter and found is not None and job.field in found.counts:
            return found
        if job.source is Source.AUTO:
            return None
        if job.filter:
            why = "a stored snapshot cannot be filtered"
        elif found is None:
            why = "there is no snapshot yet"
        else:
            why = f"the latest snapshot has no histogram of {job.field}"
        raise PreconditionError("NOT_STORED", why)

    async def _read_cached(self, job: Job, authorization: str) -> bool:
        """Count what the cache holds if that is all; tell whether it was."""
        found = await self.rows.cached(
            Wanted(
                namespace=Namespace(job.namespace),
                fields=[job.field],
                as_of_ms=self.now_ms(),
                filter=job.filter,
                page_size=job.page_size,
                authorization=authorization,
            )
        )
        if found is None:
            return False
        job.effective_source, job.stable_as_of = Source.CACHE, found.warmed_through_ms
        job.documents_scanned = found.row_count
        content = content_of(
            job.field,
            found.counts,
            row_count=found.row_count,
            distinct_count=found.distinct_count,
            is_truncated=found.is_truncated,
        )
        await self._store(job, body_of(job.namespace, found.warmed_through_ms, content))
        return True

    async def _store(self, job: Job, body: Body) -> None:
        await self.bodies.put_partial(body)
        job.sha = body.sha

    async def _read(self, job: Job, authorization: str) -> None:
        namespace = Namespace(job.namespace)
        figures = await self._figures(namespace, authorization)
        watermark_ms = figures.watermark_ms
        if watermark_ms is None:
            latest = await self.latest.find(namespace)
            watermark_ms = None if latest is None else latest.body.watermark_ms
        if watermark_ms is None:
            raise PreconditionError(
                "WATERMARK_UNKNOWN", "no watermark of the namespace is known; try again later"
            )
        job.effective_source, job.stable_as_of = Source.ORIGIN, watermark_ms
        job.documents_scanned, job.progress = 0, 0.0
        counting = Counting([job.field])
        wanted = Wanted(
            namespace=namespace,
            fields=counting.fields,
            as_of_ms=max(watermark_ms, self.now_ms()),
            filter=job.filter,
            page_size=job.page_size,
            authorization=authorization,
        )
        async for page in self.rows.values(wanted):
            counting.add(page.row_count, page.columns)
            job.documents_scanned = counting.row_count
            if figures.row_count and not job.filter:
                job.progress = min(0.99, counting.row_count / figures.row_count)
        await self._store(job, body_of(namespace, watermark_ms, counting.content()))

    async def _figures(self, namespace: Namespace, authorization: str) -> NamespaceFigures:
        """Ask the gateway, for a while until it knows the watermark."""
        attempts_left = round(WATERMARK_PATIENCE_S / WATERMARK_PAUSE_S)
        while True:
            figures = await self.rows.figures(namespace, authorization)
            attempts_left -= 1
            if figures.watermark_ms is not None or not attempts_left:
                return figures
            await asyncio.sleep(WATERMARK_PAUSE_S)
