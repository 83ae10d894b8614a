"""Scan jobs as they are kept and shown."""

from __future__ import annotations

from typing import Final

import msgspec

from layer_gateway.application.job_records import Job
from layer_gateway.application.scanning.results import job_folder
from layer_gateway.domain.scans import ScanReport, ServedBy
from layer_kit.names import Namespace
from layer_wire.scans import ScanMode, ScanSource

NOT_KEPT: Final = msgspec.Raw(b"null")


class ScanJob(Job, kw_only=True, omit_defaults=True):
    """One scan; the names are the contract's."""

    mode: ScanMode
    source: ScanSource
    field: str | None = None
    effective_source: ServedBy | None = None
    unique_values: int | None = None
    """An estimate where ``truncated``."""
    truncated: bool | None = None
    """Whether there were more distinct values than are kept."""
    bounded: bool | None = None
    approximate: bool | None = None
    snapshot_sha: str | None = None
    watermark_ms: int | None = None
    threads: int | None = None
    kept_values: msgspec.Raw = NOT_KEPT
    """What a snapshot said, where that is short enough to be kept with the job; not shown.

    It stays text until it is asked for: a list of jobs reads it of all of them.
    """

    @property
    def goes_first(self) -> bool:
        return self.kept_values != NOT_KEPT


def fill(job: ScanJob, report: ScanReport) -> None:
    """Note on a job how it goes."""
    job.effective_source = report.served_by
    job.snapshot_sha = report.snapshot_sha
    job.watermark_ms = report.watermark_ms
    job.bounded = report.is_bounded or None
    if report.served_by is ServedBy.ORIGIN:
        job.threads = report.threads
        job.bounded = report.is_bounded
        job.approximate = report.is_approximate or None


def request_key(job: ScanJob) -> str:
    return f"{job_folder(Namespace(job.namespace), job.id)}request.json"


def result_prefix(job: ScanJob) -> str:
    """Return where the results of this attempt are: one that was left behind may still write."""
    return f"{job_folder(Namespace(job.namespace), job.id)}{job.attempt}/"
