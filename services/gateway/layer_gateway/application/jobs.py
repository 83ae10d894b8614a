"""Jobs of the gateway: kept in the object store, so that every replica shows them.

The gateway that runs a job owns it, and writes it anew every few seconds. One that is still running
and was not written for long has lost its gateway. Where its kind may be taken up, another gateway
makes itself the owner and begins anew; otherwise whoever reads it records that it failed, and why.
An owner that finds the record gone, or another's, stops. Without an object store jobs are known
to the gateway that runs them alone, and end with it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import LayerError, NotFoundError, PreconditionError
from layer_kit.names import Namespace
from layer_objects import Object, ObjectStore

log = structlog.get_logger(__name__)

JOBS_KEPT_MAX: Final = 100
"""Of one kind and namespace; the oldest that have ended go first."""

READS_AT_ONCE_MAX: Final = 16

ABANDONED_MS: Final = 60_000
"""More than the clocks of gateways and a few lost writes account for."""


class JobStatus(StrEnum):
    """Where a job is; the value is the contract's."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class Job(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One job, as it is kept; :func:`shown` is what callers see of it."""

    id: str
    namespace: str
    status: JobStatus
    progress: float
    documents_scanned: int
    stable_as_of: int | None = None
    created_at: str
    completed_at: str | None = None
    error: str | None = None
    created_ms: int
    heard_ms: int
    """When the gateway that runs it last wrote it; 0 once that has let go of it."""
    owner: str = ""
    """The process that runs it."""
    attempt: int = 1
    """How many gateways have run it."""


J = TypeVar("J", bound=Job)
Removed = Callable[[Namespace, str], Awaitable[None]]

_HIDDEN: Final = frozenset({"created_ms", "heard_ms", "owner", "attempt"})


async def _nothing(namespace: Namespace, job_id: str) -> None:
    """Leave nothing behind where a job leaves nothing."""


def shown(job: Job, *, hidden: frozenset[str] = _HIDDEN) -> dict[str, object]:
    """Return a job as the contract shows it."""
    fields = {name: getattr(job, name) for name in job.__struct_fields__ if name not in hidden}
    return {name: value for name, value in fields.items() if value is not None}


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
        self._decoder: msgspec.json.Decoder[J] = msgspec.json.Decoder(type_)
        self._objects = objects
        self._now_ms = now_ms
        self._new_id = new_id
        self._abandoned_ms = abandoned_ms
        self._attempts_max = attempts_max
        self._removed = removed
        self._owner = uuid.uuid4().hex
        self._own: dict[tuple[Namespace, str], J] = {}
        self._etags: dict[str, str] = {}
        """Of the records of jobs that are ours, as we last wrote them."""

    async def begin(self, namespace: Namespace, **fields: Any) -> J:
        """Make a job that runs, with such further fields as its kind has.

        Raises:
            UpstreamError, DeadlineError, UnavailableError: The object store's.
        """
        now_ms = self._now_ms()
        job = self._type(
            id=self._new_id(),
            namespace=namespace,
            status=JobStatus.RUNNING,
            progress=0.0,
            documents_scanned=0,
            created_at=rfc3339(now_ms),
            created_ms=now_ms,
            heard_ms=now_ms,
            owner=self._owner,
            **fields,
        )
        await self._write(job)
        self._own[namespace, job.id] = job
        await self._prune(namespace)
        return job

    async def keep(self, job: J) -> bool:
        """Write a job that this gateway runs; tell whether it is still the one to run it.

        Failing to write is made up for by the next time.
        """
        job.heard_ms = self._now_ms()
        return await self._rewrite(job)

    async def end(self, job: J, *, error: str | None = None) -> None:
        """Record how a job ended."""
        job.status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
        job.error = error
        job.completed_at = rfc3339(self._now_ms())
        if error is None:
            job.progress = 1.0
        await self.keep(job)
        self._leave(job)

    async def let_go(self, job: J, *, error: str) -> None:
        """Leave a job that runs to other gateways, or end it with ``error`` if none may have it."""
        if self._objects is None or job.attempt >= self._attempts_max:
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
        if self._objects is None or not self._may_be_taken_up(job):
            return None
        key = self._key(job)
        found = await self._objects.get(key)
        job_now = None if found is None else self._decoded(key, found)
        if found is None or job_now is None or not self._may_be_taken_up(job_now):
            return None
        job_now.owner, job_now.heard_ms = self._owner, self._now_ms()
        job_now.attempt += 1
        self._etags[job_now.id] = found.info.etag
        try:
            await self._write(job_now)
        except PreconditionError:
            self._etags.pop(job_now.id, None)
            return None  # another gateway was quicker
        self._own[Namespace(job_now.namespace), job_now.id] = job_now
        log.info("job_taken_up", kind=self._kind, job_id=job_now.id, attempt=job_now.attempt)
        return job_now

    async def get(self, namespace: Namespace, job_id: str) -> J:
        """Return a job.

        Raises:
            NotFoundError: ``JOB_NOT_FOUND``.
        """
        job = self._own.get((namespace, job_id))
        if job is None and self._objects is not None:
            ending = f"-{job_id}.json"
            async for key in self._objects.iter_keys(self._prefix(namespace)):
                if key.endswith(ending):
                    job = await self._read(self._objects, key)
        if job is None:
            raise NotFoundError(
                "JOB_NOT_FOUND",
                f"Namespace {namespace} has no such job; the last {JOBS_KEPT_MAX} are kept.",
                namespace=namespace,
                job_id=job_id,
            )
        return job

    async def list(self, namespace: Namespace) -> Sequence[J]:
        """Return the jobs of a namespace, oldest first."""
        own = {id_: job for (name, id_), job in self._own.items() if name == namespace}
        if self._objects is None:
            return sorted(own.values(), key=_age)
        kept = {job.id: job for job in await self._kept(self._objects, self._prefix(namespace))}
        return sorted((kept | own).values(), key=_age)

    async def running(self, namespace: Namespace) -> J | None:
        """Return a job that runs, on whichever gateway."""
        jobs = await self.list(namespace)
        return next((job for job in jobs if job.status is JobStatus.RUNNING), None)

    async def delete(self, job: J) -> None:
        """Forget a job; the gateway that runs it notices.

        Raises:
            LayerError: The object store's.
        """
        namespace = Namespace(job.namespace)
        self._own.pop((namespace, job.id), None)
        self._etags.pop(job.id, None)
        if self._objects is not None:
            await self._objects.delete(self._key(job))
        await self._removed(namespace, job.id)

    async def expire(self, age_ms: int) -> None:
        """Forget the jobs of every namespace that have ended and were created so long ago.

        Raises:
            LayerError: The object store's.
        """
        latest_ms = self._now_ms() - age_ms
        jobs: Sequence[J] = list(self._own.values())
        if self._objects is not None:
            keys = [key async for key in self._objects.iter_keys(f"jobs/{self._kind}/")]
            old = [key for key in keys if _created_ms(key) <= latest_ms]
            jobs = await self._read_all(self._objects, old)
        for job in jobs:
            if job.status is not JobStatus.RUNNING and job.created_ms <= latest_ms:
                await self.delete(job)

    async def _kept(self, objects: ObjectStore, prefix: str) -> Sequence[J]:
        """Read the jobs in the object store."""
        return await self._read_all(objects, [key async for key in objects.iter_keys(prefix)])

    async def _read_all(self, objects: ObjectStore, keys: Sequence[str]) -> Sequence[J]:
        """Read jobs, some at once."""
        found = []
        for start in range(0, len(keys), READS_AT_ONCE_MAX):
            some = keys[start : start + READS_AT_ONCE_MAX]
            found += await asyncio.gather(*(self._read(objects, key) for key in some))
        return [job for job in found if job is not None]

    async def _read(self, objects: ObjectStore, key: str) -> J | None:
        found = await objects.get(key)
        job = None if found is None else self._decoded(key, found)
        if found is None or job is None:
            return None
        if self._is_abandoned(job) and job.attempt >= self._attempts_max:
            await self._bury(objects, key, job, found.info.etag)
        return job

    def _decoded(self, key: str, found: Object) -> J | None:
        try:
            return self._decoder.decode(found.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("job_unreadable", key=key, error=str(error))
            return None

    def _is_abandoned(self, job: J) -> bool:
        is_running = job.status is JobStatus.RUNNING
        return is_running and self._now_ms() - job.heard_ms > self._abandoned_ms

    def _may_be_taken_up(self, job: J) -> bool:
        return self._is_abandoned(job) and job.attempt < self._attempts_max

    async def _bury(self, objects: ObjectStore, key: str, job: J, etag: str) -> None:
        """Record that a job has lost its gateway, unless that has just written it."""
        job.status = JobStatus.FAILED
        job.error = "the gateway that ran it has ended"
        job.completed_at = rfc3339(self._now_ms())
        try:
            await objects.put(
                key, msgspec.json.encode(job), content_type="application/json", if_match=etag
            )
        except PreconditionError:
            log.info("job_lives", kind=self._kind, job_id=job.id)

    async def _rewrite(self, job: J) -> bool:
        """Write a job that is ours, if it still is; tell whether."""
        if (Namespace(job.namespace), job.id) not in self._own:
            return False  # deleted
        try:
            try:
                await self._write(job)
            except PreconditionError:
                if not await self._is_still_ours(job):
                    log.warning("job_lost", kind=self._kind, job_id=job.id)
                    self._leave(job)
                    return False
                await self._write(job)
        except LayerError as error:
            log.warning("job_not_written", kind=self._kind, job_id=job.id, reason=error.reason)
        return True

    async def _is_still_ours(self, job: J) -> bool:
        """Look at a record that is not as we remember it: it may be by a write that we gave up."""
        if self._objects is None:
            return True
        key = self._key(job)
        found = await self._objects.get(key)
        kept = None if found is None else self._decoded(key, found)
        if found is None or kept is None or kept.owner != self._owner:
            return False
        self._etags[job.id] = found.info.etag
        return True

    async def _write(self, job: J) -> None:
        if self._objects is not None:
            written = await self._objects.put(
                self._key(job),
                msgspec.json.encode(job),
                content_type="application/json",
                if_match=self._etags.get(job.id),
            )
            self._etags[job.id] = written.etag

    def _leave(self, job: J) -> None:
        """Look at a job in the object store from now on, where there is one."""
        if self._objects is not None:
            self._own.pop((Namespace(job.namespace), job.id), None)
            self._etags.pop(job.id, None)

    async def _prune(self, namespace: Namespace) -> None:
        """Forget the oldest jobs that have ended; failing to leaves some more."""
        jobs = await self.list(namespace)
        for job in jobs[: max(0, len(jobs) - JOBS_KEPT_MAX)]:
            if job.status is not JobStatus.RUNNING:
                await self.delete(job)

    def _prefix(self, namespace: Namespace) -> str:
        return f"jobs/{self._kind}/{namespace}/"

    def _key(self, job: J) -> str:
        return f"{self._prefix(Namespace(job.namespace))}{job.created_ms:013}-{job.id}.json"


def rfc3339(epoch_ms: int) -> str:
    """Return a moment as the contract's jobs show it."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(job: Job) -> tuple[int, str]:
    return job.created_ms, job.id


def _created_ms(key: str) -> int:
    """Return when the job of a key was created; the far future for what is no job's."""
    stamp = key.rpartition("/")[2].partition("-")[0]
    return int(stamp) if stamp.isascii() and stamp.isdecimal() else 2**63
