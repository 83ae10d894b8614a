"""Bringing what a caller names into the caches it belongs to (docs/reference/http.md, "Warm")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer_gateway.application.blob_warming import WarmBlobs, WarmedBlobs
from layer_gateway.application.job_records import Job
from layer_gateway.application.mirroring import MirroredSnapshot
from layer_gateway.application.warm_jobs import WarmJobs, check_page_size
from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace

BUDGET_BYTES_MAX: Final = 2**50


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What a caller wants warm."""

    store: bool
    rows: bool
    snapshot: bool
    blob_budget_bytes: int | None
    """None where blobs are not wanted."""
    page_size: int


@dataclass(slots=True, kw_only=True)
class Hinted:
    """What was done about each of these; None where it was not wanted."""

    hint: Hint
    job: Job | None = None
    snapshot: MirroredSnapshot | None = None
    """None also where there is no snapshot."""
    blobs: WarmedBlobs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmCaches:
    """Has the store, the rows, the latest snapshot and the blobs of a namespace warmed."""

    warm_jobs: WarmJobs
    warm_blobs: WarmBlobs

    async def __call__(self, namespace: Namespace, hint: Hint, caller: Caller) -> Hinted:
        """Do what is wanted, or begin it; nothing is done when the request cannot be right.

        Raises:
            InvalidRequestError: ``PAGE_SIZE_RANGE``, ``NO_REFERENCE_ATTRIBUTES``.
            CacheColdError: ``CACHE_AWAY``.
            QuotaExceededError: ``TOO_MANY_JOBS``.
            LayerError: What the store or the object store has against it.
        """
        check_page_size(hint.page_size)
        if hint.blob_budget_bytes is not None:
            self.warm_blobs.references.of(namespace)
        if hint.rows or hint.snapshot or hint.blob_budget_bytes is not None:
            self.warm_jobs.check_cache()
        done = Hinted(hint=hint)
        if hint.store:
            await self.warm_jobs.hint(namespace, caller)
        if hint.snapshot:
            done.snapshot = await self.warm_jobs.mirror(namespace)
        if hint.rows:
            done.job = await self.warm_jobs.start(
                namespace, caller, page_size=hint.page_size, documents_only=True
            )
        if hint.blob_budget_bytes is not None:
            done.blobs = await self.warm_blobs(
                namespace,
                caller,
                budget_bytes=min(hint.blob_budget_bytes, BUDGET_BYTES_MAX),
                page_size=hint.page_size,
            )
        return done
