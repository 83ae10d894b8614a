"""Jobs: the counting of one field on request."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class JobStatus(StrEnum):
    """Where a job is; the value is the contract's."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class Source(StrEnum):
    """Where rows are read; the value is the contract's."""

    AUTO = "auto"
    STORED = "stored"
    CACHE = "cache"
    ORIGIN = "origin"


class Job(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One job, as it is kept in the object store."""

    id: str
    namespace: str
    field: str
    source: Source
    effective_source: Source | None = None
    status: JobStatus = JobStatus.RUNNING
    progress: float = 0.0
    documents_scanned: int = 0
    sha: str | None = None
    stable_as_of: int | None = None
    created_ms: int
    completed_ms: int | None = None
    error: str | None = None
    filter: bytes = b""
    """A message of the API, which only whoever reads rows understands; empty for none."""
    page_size: int
    request_id: str = ""
    owner: str = ""
    """The process that runs it."""
    heard_ms: int
    """When that last wrote it."""
    attempts: int = 1

    @property
    def is_running(self) -> bool:
        return self.status is JobStatus.RUNNING
