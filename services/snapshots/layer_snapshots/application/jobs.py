"""Jobs in the object store, so that every replica shows them and one can go on with another's.

Those that run and those that have ended lie apart: what has lost its process is found by a listing
of the former, which are few. Whoever runs a job writes it anew every few seconds, each time in
place of what it wrote before, and stops when somebody else has written it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import NotFoundError, PreconditionError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_snapshots.domain.jobs import Job
from layer_snapshots.domain.keys import ENDED_JOBS, RUNNING_JOBS, folder, job_file
from layer_snapshots.domain.limits import JOB_KEPT_MS, JOBS_KEPT_MAX, READS_AT_ONCE_MAX

log = structlog.get_logger(__name__)

_JOB: Final[msgspec.json.Decoder[Job]] = msgspec.json.Decoder(Job)


class JobLostError(Exception):
    """Another process runs the job now, or it was purged."""


@dataclass(slots=True)
class HeldJob:
    """A job that this process runs."""

    job: Job
    etag: str


@dataclass(slots=True, kw_only=True)
class Jobs:
    """Keeps the jobs of every namespace.

    Args:
        owner: A name of this process that no other has, nor its successor.
        abandoned_ms: After so long without being written, a running job has lost its process.
    """

    objects: ObjectStore
    owner: str
    abandoned_ms: int
    now_ms: EpochMilliseconds
    _own: dict[tuple[str, str], Job] = field(default_factory=dict)

    async def begin(self, job: Job) -> HeldJob:
        """Keep a new job.

        Raises:
            UpstreamError: The object store's own, as everything here does.
        """
        info = await self.objects.put(
            _running_key(job),
            msgspec.json.encode(job),
            content_type="application/json",
            if_absent=True,
        )
        self._own[job.namespace, job.id] = job
        return HeldJob(job, info.etag)

    async def keep(self, held: HeldJob) -> None:
        """Write a job that runs.

        Raises:
            JobLostError: When it is no longer this process's.
        """
        held.job.heard_ms = self.now_ms()
        try:
            info = await self.objects.put(
                _running_key(held.job),
                msgspec.json.encode(held.job),
                content_type="application/json",
                if_match=held.etag,
            )
        except PreconditionError:
            raise JobLostError from None
        held.etag = info.etag

    async def end(self, held: HeldJob) -> None:
        """Write a job that has ended; errors as for :meth:`keep`."""
        await self.keep(held)
        await self._move(held.job)
        self.let_go(held)
        await self._prune(Namespace(held.job.namespace))

    def let_go(self, held: HeldJob) -> None:
        """Leave a job to what is stored of it."""
        self._own.pop((held.job.namespace, held.job.id), None)

    async def get(self, namespace: Namespace, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: ``JOB_NOT_FOUND``.
        """
        own = self._own.get((namespace, job_id))
        if own is not None:
            return own
        for place in (RUNNING_JOBS, ENDED_JOBS, RUNNING_JOBS):  # it may end while it is looked for
            async for key in self.objects.iter_keys(folder(place, namespace)):
                if key.endswith(f"-{job_id}.json") and (job := await self._read(key)) is not None:
                    return job
        raise NotFoundError(
            "JOB_NOT_FOUND",
            f"Namespace {namespace} has no such job; those of the last day are kept, up to "
            f"{JOBS_KEPT_MAX}.",
            namespace=namespace,
            job_id=job_id,
        )

    async def list(self, namespace: Namespace) -> Sequence[Job]:
        """Return the jobs of a namespace, oldest first."""
        found: dict[str, Job] = {}
        for place in (RUNNING_JOBS, ENDED_JOBS):
            keys = [key async for key in self.objects.iter_keys(folder(place, namespace))]
            for start in range(0, len(keys), READS_AT_ONCE_MAX):
                some = keys[start : start + READS_AT_ONCE_MAX]
                read = await asyncio.gather(*(self._read(key) for key in some))
                found.update((job.id, job) for job in read if job is not None)
        found.update((job.id, job) for job in self._own.values() if job.namespace == namespace)
        return sorted(found.values(), key=age)

    async def abandoned(self) -> AsyncIterator[HeldJob]:
        """Yield running jobs that have lost their process, each taken over by this one."""
        keys = [key async for key in self.objects.iter_keys(f"{RUNNING_JOBS}/")]
        for key in keys:
            found = await self.objects.get(key)
            job = None if found is None else _decoded(key, found.body)
            if found is None or job is None or (job.namespace, job.id) in self._own:
                continue
            if self.now_ms() - job.heard_ms <= self.abandoned_ms:
                continue
            if not job.is_running:  # its process was gone before it had put it away
                await self._move(job)
                continue
            held = HeldJob(job, found.info.etag)
            job.owner, job.attempts = self.owner, job.attempts + 1
            try:
                await self.keep(held)
            except JobLostError:
                continue
            self._own[job.namespace, job.id] = job
            yield held

    async def purge(self, namespace: Namespace) -> None:
        """Delete the jobs of a namespace; what runs notices by it."""
        for place in (RUNNING_JOBS, ENDED_JOBS):
            await self.objects.delete_prefix(folder(place, namespace))
        for name, job_id in list(self._own):
            if name == namespace:
                del self._own[name, job_id]

    async def _move(self, job: Job) -> None:
        """Put a job among those that have ended."""
        await self.objects.put(
            _ended_key(job), msgspec.json.encode(job), content_type="application/json"
        )
        await self.objects.delete(_running_key(job))

    async def _prune(self, namespace: Namespace) -> None:
        """Delete ended jobs that are too old or too many."""
        prefix = folder(ENDED_JOBS, namespace)
        keys = [key async for key in self.objects.iter_keys(prefix)]
        oldest = f"{prefix}{self.now_ms() - JOB_KEPT_MS:013}"
        excess = max(0, len(keys) - JOBS_KEPT_MAX)
        for at, key in enumerate(keys):
            if at < excess or key < oldest:
                await self.objects.delete(key)

    async def _read(self, key: str) -> Job | None:
        found = await self.objects.get(key)
        return None if found is None else _decoded(key, found.body)


def age(job: Job) -> tuple[int, str]:
    """Return what jobs are sorted by."""
    return job.created_ms, job.id


def _decoded(key: str, body: bytes) -> Job | None:
    try:
        return _JOB.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("job_unreadable", key=key, cause=str(error))
        return None


def _running_key(job: Job) -> str:
    return folder(RUNNING_JOBS, Namespace(job.namespace)) + job_file(job.created_ms, job.id)


def _ended_key(job: Job) -> str:
    return folder(ENDED_JOBS, Namespace(job.namespace)) + job_file(job.created_ms, job.id)
