"""Jobs: what those of every kind have in common as messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from layer.common.v1 import common_pb2
from layer_gateway.application.job_records import J, Job, JobStatus
from layer_gateway.application.room_for_jobs import JOBS_KEPT_MIN
from layer_gateway.rpc.reading import page_size
from layer_kit.errors import InvalidRequestError
from layer_wire.moments import epoch_ms

STATES: Final[Mapping[JobStatus, common_pb2.JobState.ValueType]] = {
    JobStatus.RUNNING: common_pb2.JOB_STATE_RUNNING,
    JobStatus.COMPLETED: common_pb2.JOB_STATE_COMPLETED,
    JobStatus.FAILED: common_pb2.JOB_STATE_FAILED,
}

_PAGE_TOKEN: Final = re.compile(r"[0-9]{13}-[0-9a-f-]{36}")
"""When a job was created, and its id."""


class ListRequest(Protocol):
    """Asks for a page of jobs."""

    page_size: int
    page_token: str


class JobMessage(Protocol):
    """Tells of a job."""

    @property
    def create_time(self) -> Timestamp: ...
    @property
    def end_time(self) -> Timestamp: ...


def jobs_page(request: ListRequest, jobs: Sequence[J]) -> tuple[Sequence[J], str]:
    """Return a page of the jobs there are, and the token of the next.

    A page continues behind the job that its token names, whether or not that is still there.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``, ``PAGE_TOKEN_INVALID``.
    """
    if request.page_token and _PAGE_TOKEN.fullmatch(request.page_token) is None:
        raise InvalidRequestError(
            "PAGE_TOKEN_INVALID", "page_token is not one of an answer.", field="page_token"
        )
    size = page_size(request.page_size, default=JOBS_KEPT_MIN, most=JOBS_KEPT_MIN)
    names = [f"{job.created_ms:013}-{job.id}" for job in jobs]
    start = sum(name <= request.page_token for name in names) if request.page_token else 0
    end = start + size
    return jobs[start:end], names[end - 1] if end < len(jobs) else ""


def fill_times(message: JobMessage, job: Job) -> None:
    """Set when a job began and, if it has, when it ended."""
    message.create_time.FromMilliseconds(job.created_ms)
    if (ended_ms := epoch_ms(job.completed_at or "")) is not None:
        message.end_time.FromMilliseconds(ended_ms)
