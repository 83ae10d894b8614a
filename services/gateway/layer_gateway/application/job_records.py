"""Records of jobs in the object store: one object each, written under the condition of its last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec
import structlog

from layer_kit.bounded_cache import BoundedCache
from layer_kit.errors import PreconditionError
from layer_kit.names import Namespace
from layer_objects import ObjectStore

log = structlog.get_logger(__name__)

READS_AT_ONCE_MAX: Final = 16
KEYS_REMEMBERED_MAX: Final = 10_000


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

    @property
    def goes_first(self) -> bool:
        """Tell whether it makes room before others, since asking again costs next to nothing."""
        return False


J = TypeVar("J", bound=Job)

_HIDDEN: Final = frozenset({"created_ms", "heard_ms", "owner", "attempt", "kept_values"})


def shown(job: Job) -> dict[str, object]:
    """Return a job as the contract shows it."""
    fields = {name: getattr(job, name) for name in job.__struct_fields__ if name not in _HIDDEN}
    return {name: value for name, value in fields.items() if value is not None}


class JobRecords(Generic[J]):
    """The records of one kind of job. Every method raises the object store's errors.

    Args:
        type_: What is kept of one.
    """

    def __init__(self, kind: str, type_: type[J], objects: ObjectStore) -> None:
        self._folder = f"jobs/{kind}/"
        self._decoder: msgspec.json.Decoder[J] = msgspec.json.Decoder(type_)
        self._objects = objects
        self._known_keys: BoundedCache[str, str] = BoundedCache(KEYS_REMEMBERED_MAX)
        """Of the records seen last, by the ids of their jobs: looking for one is a listing."""
        self._etags: dict[str, str] = {}
        """Of the records that this process has written last, by the ids of their jobs."""

    async def keys(self, namespace: Namespace | None = None) -> list[str]:
        """Return where the jobs of a namespace are, or of all, oldest first in each."""
        prefix = self._folder if namespace is None else f"{self._folder}{namespace}/"
        return [key async for key in self._objects.iter_keys(prefix)]

    async def find(self, namespace: Namespace, job_id: str) -> J | None:
        """Read a job by its id."""
        folder, ending = f"{self._folder}{namespace}/", f"-{job_id}.json"
        key = self._known_keys.get(job_id)
        if key is None or not key.startswith(folder):
            key = next((key for key in await self.keys(namespace) if key.endswith(ending)), None)
        found = None if key is None else await self._read(key)
        if key is None or found is None:
            return None
        self._known_keys.put(job_id, key, weight=1)
        return found[0]

    async def read_all(self, keys: Sequence[str]) -> list[J]:
        """Read jobs, some at once; those that are gone or unreadable are left out."""
        found = []
        for start in range(0, len(keys), READS_AT_ONCE_MAX):
            some = keys[start : start + READS_AT_ONCE_MAX]
            found += await asyncio.gather(*(self._read(key) for key in some))
        return [job for job, _ in filter(None, found)]

    async def reread(self, job: J) -> J | None:
        """Read a job once more; a write that follows is under the condition of what is read."""
        found = await self._read(self._key(job))
        if found is None:
            return None
        self._etags[job.id] = found[1]
        return found[0]

    async def write(self, job: J) -> None:
        """Write a job.

        Raises:
            PreconditionError: Somebody else has written or deleted it meanwhile.
        """
        written = await self._objects.put(
            self._key(job),
            msgspec.json.encode(job),
            content_type="application/json",
            if_match=self._etags.get(job.id),
        )
        self._etags[job.id] = written.etag
        self._known_keys.put(job.id, written.key, weight=1)

    async def write_if(self, job: J) -> bool:
        """Write a job that was read again before; tell whether it was still so."""
        try:
            await self.write(job)
        except PreconditionError:
            self.leave(job)
            return False
        return True

    async def delete(self, job: J) -> None:
        """Delete a record."""
        self.leave(job)
        await self._objects.delete(self._key(job))

    def leave(self, job: J) -> None:
        """Forget what a record was like: others write it from now on."""
        self._etags.pop(job.id, None)

    async def _read(self, key: str) -> tuple[J, str] | None:
        found = await self._objects.get(key)
        if found is None:
            return None
        try:
            return self._decoder.decode(found.body), found.info.etag
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("job_unreadable", key=key, error=str(error))
            return None

    def _key(self, job: J) -> str:
        return f"{self._folder}{job.namespace}/{job.created_ms:013}-{job.id}.json"


def created_ms(key: str) -> int:
    """Return when the job of a key was created; the far future for what is no job's."""
    stamp = key.rpartition("/")[2].partition("-")[0]
    return int(stamp) if stamp.isascii() and stamp.isdecimal() else 2**63
