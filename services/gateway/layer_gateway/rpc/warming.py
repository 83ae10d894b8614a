"""Warm jobs as messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.job_records import Job, JobStatus
from layer_gateway.application.room_for_jobs import JOBS_KEPT_MIN
from layer_gateway.rpc.reading import page_size
from layer_wire.moments import epoch_ms

_STATES: Final[Mapping[JobStatus, common_pb2.JobState.ValueType]] = {
    JobStatus.RUNNING: common_pb2.JOB_STATE_RUNNING,
    JobStatus.COMPLETED: common_pb2.JOB_STATE_COMPLETED,
    JobStatus.FAILED: common_pb2.JOB_STATE_FAILED,
}


def job_message(job: Job) -> gateway_pb2.WarmJob:
    """Return a job as a message."""
    message = gateway_pb2.WarmJob(
        id=job.id,
        namespace=job.namespace,
        state=_STATES[job.status],
        progress=job.progress,
        scanned_row_count=job.documents_scanned,
        stable_as_of_ms=job.stable_as_of,
        error=job.error or "",
    )
    message.create_time.FromMilliseconds(job.created_ms)
    if (ended_ms := epoch_ms(job.completed_at or "")) is not None:
        message.end_time.FromMilliseconds(ended_ms)
    return message


def jobs_page(
    request: gateway_pb2.ListWarmJobsRequest, jobs: Sequence[Job]
) -> gateway_pb2.ListWarmJobsResponse:
    """Return a page of the jobs there are; it continues behind the job that the token names.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``.
    """
    size = page_size(request.page_size, default=JOBS_KEPT_MIN, most=JOBS_KEPT_MIN)
    names = [f"{job.created_ms:013}-{job.id}" for job in jobs]
    start = sum(name <= request.page_token for name in names) if request.page_token else 0
    end = start + size
    return gateway_pb2.ListWarmJobsResponse(
        jobs=map(job_message, jobs[start:end]),
        next_page_token=names[end - 1] if end < len(jobs) else "",
    )
