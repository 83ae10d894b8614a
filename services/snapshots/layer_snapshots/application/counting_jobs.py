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
from layer_kit.errors import LayerError, QuotaExceededError
from layer_kit.lost_errors import report_lost
from layer_kit.names import Namespace
from layer_snapshots.application.count_field import CountField
from layer_snapshots.application.jobs import HeldJob, JobLostError, Jobs
from layer_snapshots.domain.jobs import Job, JobStatus, Source
from layer_snapshots.domain.limits import (
    JOB_ATTEMPTS_MAX,
    JOBS_RUNNING_MAX,
    REQUEST_REMEMBERED_MS,
)
from layer_snapshots.ports import Rows

log = structlog.get_logger(__name__)

AT_ONCE_MAX: Final = 4


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
    count_field: CountField
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
        task.add_done_callback(report_lost)

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
                await self.count_field(held.job, authorization)
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
