"""Counts the field of a job: from the latest snapshot, from the cache, or from all rows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import (
    DeadlineError,
    LayerError,
    PreconditionError,
    QuotaExceededError,
    UnavailableError,
)
from layer_kit.names import Namespace
from layer_snapshots.application.bodies import Bodies
from layer_snapshots.application.latest import Latest
from layer_snapshots.domain.content import Body, Counting, Snapshot, body_of, content_of
from layer_snapshots.domain.jobs import Job, Source
from layer_snapshots.ports import NamespaceFigures, Rows, Wanted

log = structlog.get_logger(__name__)

WATERMARK_PATIENCE_S: Final = 5.0
"""A gateway that has just been told of a namespace knows its watermark within moments."""

WATERMARK_PAUSE_S: Final = 0.25

PASSING: Final = (UnavailableError, QuotaExceededError, DeadlineError)
"""Errors of a gateway, or a store, that may be over in a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountField:
    """Does the work of jobs; what it comes to know, it writes into them."""

    rows: Rows
    bodies: Bodies
    latest: Latest
    now_ms: EpochMilliseconds

    async def __call__(self, job: Job, authorization: str) -> None:
        """Count a field, and keep what was counted as a snapshot of it.

        Raises:
            PreconditionError: ``NOT_STORED``, ``CACHE_NOT_WHOLE``, ``WATERMARK_UNKNOWN``.
            LayerError: The gateway's, or the object store's.
        """
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
        wanted = Wanted(
            namespace=Namespace(job.namespace),
            fields=[job.field],
            as_of_ms=self.now_ms(),
            filter=job.filter,
            page_size=job.page_size,
            authorization=authorization,
        )
        try:
            found = await self.rows.cached(wanted)
        except LayerError as error:
            if job.source is Source.CACHE:
                raise
            log.info("cache_not_counted", namespace=job.namespace, reason=error.reason)
            return False
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
            attempts_left -= 1
            try:
                figures = await self.rows.figures(namespace, authorization)
            except PASSING:
                if not attempts_left:
                    raise
            else:
                if figures.watermark_ms is not None or not attempts_left:
                    return figures
            await asyncio.sleep(WATERMARK_PAUSE_S)
