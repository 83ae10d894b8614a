"""Pages of jobs over gRPC."""

from __future__ import annotations

import uuid

import pytest

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.job_records import Job, JobStatus
from layer_gateway.rpc.jobs import jobs_page
from layer_kit.errors import InvalidRequestError

JOBS = [
    Job(
        id=str(uuid.UUID(int=at)),
        namespace="books",
        status=JobStatus.COMPLETED,
        progress=1.0,
        documents_scanned=0,
        created_at="",
        created_ms=1_780_000_000_000 + at // 2,
        heard_ms=0,
    )
    for at in range(5)
]


def page(token: str, size: int = 2) -> tuple[list[Job], str]:
    request = gateway_pb2.ListScanJobsRequest(page_size=size, page_token=token)
    found, next_token = jobs_page(request, JOBS)
    return list(found), next_token


def test_pages_cover_every_job_once() -> None:
    seen, token = page("")
    while token:
        found, token = page(token)
        seen += found
    assert seen == JOBS


@pytest.mark.parametrize("token", ["zzz", "1780000000000-", "-1"])
def test_a_token_of_no_answer_is_refused_by_name(token: str) -> None:
    with pytest.raises(InvalidRequestError, match="page_token"):
        page(token)
