"""What is kept of a scan: its job, what it was asked, and what it has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog

from layer_gateway.application.jobs import Jobs
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.results import Results, ResultWriter
from layer_gateway.application.scanning.scan_job import (
    NOT_KEPT,
    ScanJob,
    fill,
    request_key,
    result_prefix,
)
from layer_gateway.domain.scans import ScanReport
from layer_kit.errors import LayerError, PayloadTooLargeError
from layer_wire.jsontext import encode
from layer_wire.scans import Scan, parse_scan, scan_body

log = structlog.get_logger(__name__)

REQUEST_BYTES_MAX: Final = 1024 * 1024
"""Of the body of a scan that becomes a job: it is kept beside it."""

VALUES_WITH_JOB_BYTES_MAX: Final = 256 * 1024
"""Of values that are kept in the record of their job, which costs no object of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultPage:
    """A part of what a scan has found."""

    job: ScanJob
    items: Sequence[Any]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptScans:
    """Writes and reads it. Methods raise the object store's errors unless they say otherwise."""

    jobs: Jobs[ScanJob]
    results: Results

    async def begin(self, request: ScanRequest) -> ScanJob:
        """Make a job that runs, and keep what it was asked beside it.

        Raises:
            PayloadTooLargeError: ``SCAN_TOO_LARGE``.
        """
        body = scan_body(request.scan)
        if len(body) > REQUEST_BYTES_MAX:
            raise PayloadTooLargeError(
                "SCAN_TOO_LARGE",
                f"A scan has at most {REQUEST_BYTES_MAX} bytes; this filter is too large.",
                bytes_max=REQUEST_BYTES_MAX,
            )
        job = await self.jobs.begin(request.namespace, **_asked_fields(request.scan))
        try:
            await self.results.objects.put(request_key(job), body, content_type="application/json")
        except LayerError as error:
            await self.jobs.end(job, error=error.message)
            raise
        return job

    async def answer(
        self, request: ScanRequest, values: Sequence[tuple[str, int]], report: ScanReport
    ) -> ScanJob:
        """Make a job that has ended with ``values``; its caller waits for each object of it."""
        text = encode(values)
        if len(text) <= VALUES_WITH_JOB_BYTES_MAX:
            job = self.jobs.new(request.namespace, **_asked_fields(request.scan))
            _note_answer(job, values, report)
            job.kept_values = msgspec.Raw(text)
            await self.jobs.add_ended(job)
            return job
        job = await self.begin(request)
        writer = self.writer(job)
        try:
            await writer.add(values)
            await writer.finish()
        except LayerError as error:
            await self.jobs.end(job, error=error.message)
            raise
        _note_answer(job, values, report)
        await self.jobs.end(job)
        return job

    def writer(self, job: ScanJob) -> ResultWriter:
        """Return what writes the result of a job that runs."""
        return self.results.writer(result_prefix(job))

    async def asked(self, job: ScanJob) -> Scan | None:
        """Return what a job was asked; None if that is lost."""
        found = await self.results.objects.get(request_key(job))
        return None if found is None else parse_scan(found.body)

    async def page(self, job: ScanJob, offset: int, limit: int) -> ResultPage:
        """Return a part of what a job has found.

        Raises:
            UpstreamError: ``RESULT_UNREADABLE``.
        """
        if job.kept_values != NOT_KEPT:
            kept: list[Any] = msgspec.json.decode(job.kept_values)
            return ResultPage(job=job, items=kept[offset : offset + limit], total=len(kept))
        items, total = await self.results.page(result_prefix(job), offset, limit)
        return ResultPage(job=job, items=items, total=total)

    async def drop_results(self, job: ScanJob) -> None:
        """Delete what a job has found, which nobody will read; failing to is only logged."""
        try:
            await self.results.delete(result_prefix(job))
        except (LayerError, msgspec.DecodeError) as error:
            log.warning("results_left", job_id=job.id, message=str(error))


def _asked_fields(scan: Scan) -> dict[str, Any]:
    return {"mode": scan.mode, "source": scan.source, "field": scan.field or None}


def _note_answer(job: ScanJob, values: Sequence[tuple[str, int]], report: ScanReport) -> None:
    job.unique_values = len(values)
    job.truncated = False
    job.documents_scanned = sum(count for _, count in values)
    fill(job, report)
