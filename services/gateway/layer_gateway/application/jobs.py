"""Jobs of the gateway: kept in the object store, so that every replica shows them.

The gateway that runs a job owns it, and writes it anew every few seconds. One that is still running
and was not written for long has lost its gateway. Where its kind may be taken up, another gateway
makes itself the owner and begins anew; otherwise whoever reads it records that it failed, and why.
An owner that finds the record gone, or another's, stops. Without an object store jobs are known
to the gateway that runs them alone, and end with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic

import structlog

from layer_gateway.application.job_records import J, JobRecords, JobStatus, created_ms
from layer_gateway.application.room_for_jobs import JOBS_KEPT_MIN, RoomForJobs
from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import LayerError, NotFoundError, PreconditionError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_wire.moments import rfc3339

log = structlog.get_logger(__name__)

PASSED_BY_MAX: Final = 32
"""Old jobs that run, or go last, and are passed by when the oldest are forgotten."""

ABANDONED_MS: Final = 60_000
"""More than the clocks of gateways and a few lost writes account for."""

Removed = Callable[[Namespace, str], Awaitable[None]]


async def _nothing(namespace: Namespace, job_id: str) -> None:
    """Delete nothing, where a job leaves nothing behind."""


class Jobs(Generic[J]):
    """The jobs of one kind.

    Args:
        type_: What is kept of one.
        objects: Where they are kept; None keeps those of this process in memory.
        abandoned_ms: After how long without a word a job has lost its gateway.
        attempts_max: How many gateways may run a job, one after the other.
        removed: Told of each job that is forgotten, to delete what it has left.
    """

    def __init__(
        self,
        kind: str,
        type_: type[J],
        objects: ObjectStore | None,
        *,
        now_ms: EpochMilliseconds,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        abandoned_ms: int = ABANDONED_MS,
        attempts_max: int = 1,
        removed: Removed = _nothing,
    ) -> None:
        self._kind = kind
        self._type = type_
        self._records = None if objects is None else JobRecords(kind, type_, objects)
        self._now_ms = now_ms
        self._new_id = new_id
        self._abandoned_ms = abandoned_ms
        self._attempts_max = attempts_max
        self._removed = removed
        self.room: Final = RoomForJobs(self._keep_latest)
        self._owner = uuid.uuid4().hex
        self._own: dict[tuple[str, str], J] = {}
        """By namespace and id; without an object store also those that have ended."""

    def new(self, namespace: Namespace, **fields: Any) -> J:
        """Return a job that runs and nobody knows of, with such further fields as its kind has."""
        now_ms = self._now_ms()
        return self._type(
            id=self._new_id(),
            namespace=namespace,
            status=JobStatus.RUNNING,
            progress=0.0,
            documents_scanned=0,
            created_at=rfc3339(now_ms) or "",
            created_ms=now_ms,
            heard_ms=now_ms,
            owner=self._owner,
            **fields,
        )

    async def begin(self, namespace: Namespace, **fields: Any) -> J:
        """Make a job that runs.

        Raises:
            UpstreamError, DeadlineError, UnavailableError: The object store's.
        """
        job = self.new(namespace, **fields)
        if self._records is not None:
            await self._records.write(job)
        self._own[namespace, job.id] = job
        self.room.taken(namespace)
        return job

    async def add_ended(self, job: J) -> None:
        """Keep a new job whose work is done, by one object where :meth:`begin` leads to two.

        Raises:
            UpstreamError, DeadlineError, UnavailableError: The object store's.
        """
        self._note_end(job, None)
        if self._records is None:
            self._own[job.namespace, job.id] = job
        else:
            await self._records.write(job)
            self._records.leave(job)
        self.room.taken(Namespace(job.namespace))

    async def keep(self, job: J) -> bool:
        """Write a job that this gateway runs; tell whether it is still the one to run it.

        Failing to write is made up for by the next time.
        """
        job.heard_ms = self._now_ms()
        return await self._rewrite(job)

    async def end(self, job: J, *, error: str | None = None) -> None:
        """Record how a job ended."""
        self._note_end(job, error)
        await self.keep(job)
        self._leave(job)

    async def let_go(self, job: J, *, error: str) -> None:
        """Leave a job that runs to other gateways, or end it with ``error`` if none may have it."""
        if self._records is None or job.attempt >= self._attempts_max:
            await self.end(job, error=error)
            return
        job.heard_ms = 0
        await self._rewrite(job)
        self._leave(job)

    async def take_up(self, job: J) -> J | None:
        """Become the owner of a job that has lost its gateway; None when it has one, or has ended.

        Raises:
            LayerError: The object store's.
        """
        if self._records is None or not self._may_be_taken_up(job):
            return None
        now = await self._records.reread(job)
        if now is None or not self._may_be_taken_up(now):
            self._records.leave(job)
            return None
        now.owner, now.heard_ms = self._owner, self._now_ms()
        now.attempt += 1
        if not await self._records.write_if(now):
            return None  # another gateway was quicker
        self._own[now.namespace, now.id] = now
        log.info("job_taken_up", kind=self._kind, job_id=now.id, attempt=now.attempt)
        return now

    async def get(self, namespace: Namespace, job_id: str) -> J:
        """Return a job.

        Raises:
            NotFoundError: ``JOB_NOT_FOUND``.
        """
        job = self._own.get((namespace, job_id))
        if job is None and self._records is not None:
            job = await self._records.find(namespace, job_id)
        if job is None:
            raise NotFoundError(
                "JOB_NOT_FOUND",
                f"Namespace {namespace} has no such job; the last {JOBS_KEPT_MIN} are kept.",
                namespace=namespace,
                job_id=job_id,
            )
        await self._bury_lost([job])
        return job

    async def list(self, namespace: Namespace) -> Sequence[J]:
        """Return the jobs of a namespace, oldest first."""
        found = {id_: job for (name, id_), job in self._own.items() if name == namespace}
        if self._records is not None:
            kept = await self._records.read_all(await self._records.keys(namespace))
            found = {job.id: job for job in kept} | found
        await self._bury_lost(list(found.values()))
        return sorted(found.values(), key=_age)

    async def running(self, namespace: Namespace) -> J | None:
        """Return a job that runs, on whichever gateway."""
        jobs = await self.list(namespace)
        return next((job for job in jobs if job.status is JobStatus.RUNNING), None)

    async def delete(self, job: J) -> None:
        """Forget a job; the gateway that runs it notices.

        Raises:
            LayerError: The object store's.
        """
        self._own.pop((job.namespace, job.id), None)
        if self._records is not None:
            await self._records.delete(job)
        await self._removed(Namespace(job.namespace), job.id)

    async def expire(self, age_ms: int) -> None:
        """Forget the jobs of every namespace that have ended and were created so long ago.

        Raises:
            LayerError: The object store's.
        """
        latest_ms = self._now_ms() - age_ms
        jobs = list(self._own.values())
        if self._records is not None:
            keys = [key for key in await self._records.keys() if created_ms(key) <= latest_ms]
            jobs = await self._records.read_all(keys)
        await self._bury_lost(jobs)
        for job in jobs:
            if job.status is not JobStatus.RUNNING and job.created_ms <= latest_ms:
                await self.delete(job)

    async def _keep_latest(self, namespace: Namespace, count: int) -> int:
        """Forget the oldest jobs that have ended; return how many are left."""
        if self._records is None:
            jobs = await self.list(namespace)
            left = len(jobs)
        else:
            keys = await self._records.keys(namespace)
            left = len(keys)
            oldest = keys[: left - count + PASSED_BY_MAX] if left > count else []
            jobs = await self._records.read_all(oldest)
        ended = [job for job in jobs if job.status is not JobStatus.RUNNING]
        ended.sort(key=lambda job: (not job.goes_first, _age(job)))
        for job in ended[: max(left - count, 0)]:
            await self.delete(job)
            left -= 1
        return left

    async def _bury_lost(self, jobs: Sequence[J]) -> None:
        """Record of jobs that have lost their gateway, and may have no other, that they failed."""
        for job in jobs:
            if self._records is None or not self._is_lost(job) or self._may_be_taken_up(job):
                continue
            now = await self._records.reread(job)
            if now is not None and self._is_lost(now):
                self._note_end(now, "the gateway that ran it has ended")
                await self._records.write_if(now)
                job.status, job.error, job.completed_at = now.status, now.error, now.completed_at
            self._records.leave(job)

    def _note_end(self, job: J, error: str | None) -> None:
        job.status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
        job.error = error
        job.completed_at = rfc3339(self._now_ms())
        if error is None:
            job.progress = 1.0

    def _is_lost(self, job: J) -> bool:
        is_running = job.status is JobStatus.RUNNING and (job.namespace, job.id) not in self._own
        return is_running and self._now_ms() - job.heard_ms > self._abandoned_ms

    def _may_be_taken_up(self, job: J) -> bool:
        return self._is_lost(job) and job.attempt < self._attempts_max

    async def _rewrite(self, job: J) -> bool:
        """Write a job that is ours, if it still is; tell whether."""
        if (job.namespace, job.id) not in self._own:
            return False  # deleted
        if self._records is None:
            return True
        try:
            try:
                await self._records.write(job)
            except PreconditionError:
                # It may be by a write of our own that we gave up too early.
                now = await self._records.reread(job)
                if now is None or now.owner != self._owner:
                    log.warning("job_lost", kind=self._kind, job_id=job.id)
                    self._leave(job)
                    return False
                await self._records.write(job)
        except LayerError as error:
            log.warning("job_not_written", kind=self._kind, job_id=job.id, reason=error.reason)
        return True

    def _leave(self, job: J) -> None:
        """Look at a job in the object store from now on, where there is one."""
        if self._records is not None:
            self._own.pop((job.namespace, job.id), None)
            self._records.leave(job)


def _age(job: J) -> tuple[int, str]:
    return job.created_ms, job.id
