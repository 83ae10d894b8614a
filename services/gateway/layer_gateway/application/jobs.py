"""Jobs of the gateway: kept in the object store, so that every replica shows them.

The gateway that runs a job writes it anew every few seconds. One that is still running and was
not written for long has lost its gateway: whoever reads it then records that it failed, and why.
Without an object store jobs are known to the gateway that runs them alone, and end with it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import LayerError, NotFoundError, PreconditionError
from layer_kit.names import Namespace
from layer_objects import ObjectStore

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
    """When the gateway that runs it last wrote it."""


_JOB: Final[msgspec.json.Decoder[Job]] = msgspec.json.Decoder(Job)
_HIDDEN: Final = frozenset({"created_ms", "heard_ms"})


def shown(job: Job) -> dict[str, object]:
    """Return a job as the contract shows it."""
    fields = {name: getattr(job, name) for name in job.__struct_fields__ if name not in _HIDDEN}
    return {name: value for name, value in fields.items() if value is not None}


class Jobs:
    """The jobs of one kind.

    Args:
        objects: Where they are kept; None keeps those of this process in memory.
    """

    def __init__(
        self,
        kind: str,
        objects: ObjectStore | None,
        *,
        now_ms: EpochMilliseconds,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._kind = kind
        self._objects = objects
        self._now_ms = now_ms
        self._new_id = new_id
        self._own: dict[tuple[Namespace, str], Job] = {}

    async def begin(self, namespace: Namespace) -> Job:
        """Make a job that runs.

        Raises:
            UpstreamError, DeadlineError, UnavailableError: The object store's.
        """
        now_ms = self._now_ms()
        job = Job(
            id=self._new_id(),
            namespace=namespace,
            status=JobStatus.RUNNING,
            progress=0.0,
            documents_scanned=0,
            created_at=rfc3339(now_ms),
            created_ms=now_ms,
            heard_ms=now_ms,
        )
        await self._write(job)
        self._own[namespace, job.id] = job
        await self._prune(namespace)
        return job

    async def keep(self, job: Job) -> None:
        """Write a job that this gateway runs; failing to is made up for by the next time."""
        job.heard_ms = self._now_ms()
        try:
            await self._write(job)
        except LayerError as error:
            log.warning("job_not_written", kind=self._kind, job_id=job.id, reason=error.reason)

    async def end(self, job: Job, *, error: str | None = None) -> None:
        """Record how a job ended."""
        job.status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
        job.error = error
        job.completed_at = rfc3339(self._now_ms())
        if error is None:
            job.progress = 1.0
        await self.keep(job)
        if self._objects is not None:
            self._own.pop((Namespace(job.namespace), job.id), None)

    async def get(self, namespace: Namespace, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: ``JOB_NOT_FOUND``.
        """
        for job in await self.list(namespace):
            if job.id == job_id:
                return job
        raise NotFoundError(
            "JOB_NOT_FOUND",
            f"Namespace {namespace} has no such job; the last {JOBS_KEPT_MAX} are kept.",
            namespace=namespace,
            job_id=job_id,
        )

    async def list(self, namespace: Namespace) -> Sequence[Job]:
        """Return the jobs of a namespace, oldest first."""
        own = {id_: job for (name, id_), job in self._own.items() if name == namespace}
        if self._objects is None:
            return sorted(own.values(), key=_age)
        kept = {job.id: job for job in await self._kept(self._objects, namespace)}
        return sorted((kept | own).values(), key=_age)

    async def running(self, namespace: Namespace) -> Job | None:
        """Return a job that runs, on whichever gateway."""
        jobs = await self.list(namespace)
        return next((job for job in jobs if job.status is JobStatus.RUNNING), None)

    async def _kept(self, objects: ObjectStore, namespace: Namespace) -> Sequence[Job]:
        """Read the jobs in the object store, some at once."""
        keys = [key async for key in objects.iter_keys(self._prefix(namespace))]
        found = []
        for start in range(0, len(keys), READS_AT_ONCE_MAX):
            some = keys[start : start + READS_AT_ONCE_MAX]
            found += await asyncio.gather(*(self._read(objects, key) for key in some))
        return [job for job in found if job is not None]

    async def _read(self, objects: ObjectStore, key: str) -> Job | None:
        found = await objects.get(key)
        if found is None:
            return None
        try:
            job = _JOB.decode(found.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("job_unreadable", key=key, error=str(error))
            return None
        if job.status is JobStatus.RUNNING and self._is_abandoned(job):
            await self._bury(objects, key, job, found.info.etag)
        return job

    def _is_abandoned(self, job: Job) -> bool:
        return self._now_ms() - job.heard_ms > ABANDONED_MS

    async def _bury(self, objects: ObjectStore, key: str, job: Job, etag: str) -> None:
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

    async def _write(self, job: Job) -> None:
        if self._objects is not None:
            await self._objects.put(
                self._key(job), msgspec.json.encode(job), content_type="application/json"
            )

    async def _prune(self, namespace: Namespace) -> None:
        """Forget the oldest jobs that have ended; failing to leaves some more."""
        jobs = await self.list(namespace)
        for job in jobs[: max(0, len(jobs) - JOBS_KEPT_MAX)]:
            if job.status is JobStatus.RUNNING:
                continue
            self._own.pop((namespace, job.id), None)
            if self._objects is not None:
                await self._objects.delete(self._key(job))

    def _prefix(self, namespace: Namespace) -> str:
        return f"jobs/{self._kind}/{namespace}/"

    def _key(self, job: Job) -> str:
        return f"{self._prefix(Namespace(job.namespace))}{job.created_ms:013}-{job.id}.json"


def rfc3339(epoch_ms: int) -> str:
    """Return a moment as the contract's jobs show it."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(job: Job) -> tuple[int, str]:
    return job.created_ms, job.id
