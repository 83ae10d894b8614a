"""Scans that a snapshot answers: what is kept of them, and what reads it again."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from layer_gateway.application.job_records import JobStatus, shown
from layer_gateway.application.jobs import Jobs
from layer_gateway.application.room_for_jobs import JOBS_KEPT_MIN, JOBS_OVER_MAX
from layer_gateway.application.scanning.kept_scans import VALUES_WITH_JOB_BYTES_MAX, KeptScans
from layer_gateway.application.scanning.requests import ScanRequest
from layer_gateway.application.scanning.results import Results
from layer_gateway.application.scanning.scan_job import ScanJob
from layer_gateway.domain.scans import ScanReport, ServedBy
from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace
from layer_objects import ObjectStore, open_object_store
from layer_wire.scans import parse_scan

BOOKS = Namespace("books")
REPORT = ScanReport(served_by=ServedBy.SNAPSHOT, snapshot_sha="5" * 64, watermark_ms=7)


@pytest_asyncio.fixture
async def objects(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    store = open_object_store(tmp_path.as_uri())
    yield store
    await store.aclose()


def replica(objects: ObjectStore) -> KeptScans:
    results = Results(objects)
    moments = itertools.count(1_780_000_000_000)
    jobs = Jobs("scan", ScanJob, objects, now_ms=lambda: next(moments))
    return KeptScans(jobs=jobs, results=results)


def values_of_kind() -> ScanRequest:
    scan = parse_scan(b'{"mode": "values", "field": "kind"}')
    return ScanRequest(namespace=BOOKS, scan=scan, caller=Caller())


@pytest.mark.parametrize("count", [0, 3, VALUES_WITH_JOB_BYTES_MAX // 10])
async def test_every_replica_reads_the_values_of_a_snapshot(
    objects: ObjectStore, count: int
) -> None:
    values = [(f"râpe {n}", count - n) for n in range(count)]
    one, other = replica(objects), replica(objects)

    job = await one.answer(values_of_kind(), values, REPORT)

    seen = await other.jobs.get(BOOKS, job.id)
    assert (seen.status, seen.unique_values, seen.progress) == (JobStatus.COMPLETED, count, 1.0)
    assert "kept_values" not in shown(seen)
    page = await other.page(seen, max(count - 2, 0), 1000)
    assert page.total == count
    assert [tuple(item) for item in page.items] == values[-2:]


async def test_few_values_are_one_object_and_go_with_it(objects: ObjectStore) -> None:
    one = replica(objects)

    job = await one.answer(values_of_kind(), [("saw", 3)], REPORT)

    assert len([key async for key in objects.iter_keys()]) == 1
    await one.jobs.delete(job)
    assert not [key async for key in objects.iter_keys()]


async def test_answers_of_snapshots_make_room_before_scans_that_took_time(
    objects: ObjectStore,
) -> None:
    one = replica(objects)
    scan = await one.begin(values_of_kind())
    await one.jobs.end(scan)

    for _ in range(JOBS_KEPT_MIN + JOBS_OVER_MAX):
        await one.answer(values_of_kind(), [("saw", 3)], REPORT)
        await one.jobs.room.settle()

    assert (await one.jobs.get(BOOKS, scan.id)).status is JobStatus.COMPLETED
    assert len(await one.jobs.list(BOOKS)) == JOBS_KEPT_MIN
