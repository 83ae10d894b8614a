"""Warm jobs as messages."""

from __future__ import annotations

from collections.abc import Sequence

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.job_records import Job
from layer_gateway.rpc.jobs import STATES, fill_times, jobs_page


def job_message(job: Job) -> gateway_pb2.WarmJob:
    """Return a job as a message."""
    message = gateway_pb2.WarmJob(
        id=job.id,
        namespace=job.namespace,
        state=STATES[job.status],
        progress=job.progress,
        scanned_row_count=job.documents_scanned,
        stable_as_of_ms=job.stable_as_of,
        error=job.error or "",
    )
    fill_times(message, job)
    return message


def jobs_response(
    request: gateway_pb2.ListWarmJobsRequest, jobs: Sequence[Job]
) -> gateway_pb2.ListWarmJobsResponse:
    """Return a page of the jobs there are.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``.
    """
    page, next_token = jobs_page(request, jobs)
    return gateway_pb2.ListWarmJobsResponse(jobs=map(job_message, page), next_page_token=next_token)
