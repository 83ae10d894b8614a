"""Jobs that count one field, over two replicas as processes and a real S3 API."""

from __future__ import annotations

import pytest

from layer.common.v1 import common_pb2
from layer.snapshots.v1 import snapshots_pb2
from layer_kit.errors import QuotaExceededError, UnavailableError
from layer_snapshots_testing.client import TOOLS, TOOLS_SHA, WATERMARK_MS, SnapshotsClient
from layer_snapshots_testing.gateway import RowsGateway, take

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAWS = common_pb2.Filter(
    comparison=common_pb2.Comparison(
        attribute="kind",
        operator=common_pb2.COMPARISON_OPERATOR_EQUAL,
        value=common_pb2.Value(string_value="saw"),
    )
)


async def test_a_job_counts_one_field_and_is_never_the_latest(
    replicas: list[SnapshotsClient], gateway: RowsGateway
) -> None:
    one, other = replicas
    await one.set_policy("kind", "rating", "tags")
    await take(one, gateway)
    gateway.watermark_ms = WATERMARK_MS + 1000

    started = await one.start_job("kind", filter=SAWS, page_size=2)
    assert started.state == common_pb2.JOB_STATE_RUNNING
    ended = await other.ended_job(started.job_id)

    assert (ended.state, ended.error) == (common_pb2.JOB_STATE_COMPLETED, "")
    assert ended.effective_source == snapshots_pb2.SNAPSHOT_SOURCE_ORIGIN
    assert (ended.scanned_row_count, ended.stable_as_of_ms) == (3, WATERMARK_MS + 1000)
    assert ended.progress_ratio == 1.0
    found = await one.snapshot(ended.sha)
    assert (found.row_count, [field.name for field in found.fields]) == (3, ["kind"])
    assert [at for at, _ in await one.history()] == [WATERMARK_MS + 1000, WATERMARK_MS]

    assert (await one.snapshot()).sha == TOOLS_SHA
    assert (await other.snapshot()).sha == TOOLS_SHA
    assert await one.count("tags", "wood") == [2]
    gateway.watermark_ms = WATERMARK_MS


async def test_a_job_is_answered_from_the_latest_snapshot_where_that_has_the_field(
    replicas: list[SnapshotsClient], gateway: RowsGateway
) -> None:
    client = replicas[0]
    await client.set_policy("kind", "rating", "tags")
    await take(client, gateway)

    auto = await client.ended_job((await client.start_job("tags")).job_id)
    assert auto.effective_source == snapshots_pb2.SNAPSHOT_SOURCE_STORED
    assert (auto.sha, auto.stable_as_of_ms, auto.scanned_row_count) == (
        *(TOOLS_SHA, WATERMARK_MS, 6),
    )
    assert len(gateway.requests) == 1

    stored = snapshots_pb2.SNAPSHOT_SOURCE_STORED
    for fields in ({"field": "tags", "filter": SAWS}, {"field": "colour"}):
        job = await client.start_job(source=stored, **fields)
        failed = await client.ended_job(job.job_id)
        assert failed.state == common_pb2.JOB_STATE_FAILED
        assert failed.error


async def test_a_job_is_answered_from_a_cache_that_is_whole(
    replicas: list[SnapshotsClient], gateway: RowsGateway
) -> None:
    client = replicas[0]
    source = snapshots_pb2.SNAPSHOT_SOURCE_CACHE
    failed = await client.ended_job((await client.start_job("kind", source=source)).job_id)
    assert failed.state == common_pb2.JOB_STATE_FAILED
    assert "cache" in failed.error

    gateway.cached = {"saw": 3, "drill": 1}
    try:
        jobs = [
            await client.ended_job((await client.start_job("kind", source=one)).job_id)
            for one in (source, snapshots_pb2.SNAPSHOT_SOURCE_AUTO)
        ]
    finally:
        gateway.cached = None

    for job in jobs:
        assert (job.effective_source, job.scanned_row_count) == (source, 4)
        assert job.stable_as_of_ms == WATERMARK_MS
    found = await client.snapshot(jobs[0].sha)
    assert [(one.value, one.row_count) for one in found.fields[0].values] == [
        ("drill", 1),
        ("saw", 3),
    ]
    assert not gateway.requests


@pytest.mark.usefixtures("gateway")
async def test_a_job_of_the_same_request_is_started_once(replicas: list[SnapshotsClient]) -> None:
    client = replicas[0]
    first = await client.start_job("kind", request_id="r-1")
    again = await client.start_job("kind", request_id="r-1")
    assert again.job_id == first.job_id
    await client.ended_job(first.job_id)


async def test_a_job_without_a_watermark_fails_and_says_so(
    replicas: list[SnapshotsClient], gateway: RowsGateway
) -> None:
    gateway.watermark_ms = None
    try:
        job = await replicas[0].start_job("kind")
        failed = await replicas[0].ended_job(job.job_id)
    finally:
        gateway.watermark_ms = WATERMARK_MS
    assert failed.state == common_pb2.JOB_STATE_FAILED
    assert "watermark" in failed.error


async def test_a_job_of_no_namespace_fails_and_says_so(replicas: list[SnapshotsClient]) -> None:
    client = replicas[0]
    client.namespace = "nowhere"
    job = await client.start_job("kind")
    failed = await client.ended_job(job.job_id)
    assert "nowhere" in failed.error


async def test_what_upstream_refuses_for_now_is_read_again_from_where_it_was(
    replicas: list[SnapshotsClient], gateway: RowsGateway, namespace: str
) -> None:
    gateway.namespaces[namespace] = TOOLS
    gateway.failures = [
        QuotaExceededError("UPSTREAM_BUSY", "Too many requests.", retry_after_s=0.01),
        UnavailableError("UPSTREAM_AWAY", "Nobody is there."),
    ]
    # The first refuses to count in the cache, the others to say how far the index is.
    gateway.refusals = [QuotaExceededError("BUSY", "Too many requests.") for _ in range(3)]
    job = await replicas[0].start_job("kind", page_size=2)
    ended = await replicas[0].ended_job(job.job_id)

    assert gateway.refusals == []
    assert (ended.state, ended.scanned_row_count) == (common_pb2.JOB_STATE_COMPLETED, 5)
    assert len(gateway.requests) == 3
