"""Jobs in the object store: who owns them, who may take them up, when they are forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from layer_gateway.application.job_records import Job, JobStatus, shown
from layer_gateway.application.jobs import Jobs
from layer_gateway.application.room_for_jobs import JOBS_KEPT_MIN, JOBS_OVER_MAX, RoomForJobs
from layer_kit.errors import NotFoundError
from layer_kit.names import Namespace
from layer_objects import ObjectStore, open_object_store

BOOKS = Namespace("books")
LEASE_MS = 1000


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_780_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class Gateway(Jobs[Job]):
    """The jobs of one gateway, which notes what it was told to delete."""

    def __init__(self, objects: ObjectStore | None, clock: Clock, *, attempts_max: int = 2) -> None:
        self.removed_ids: list[str] = []
        super().__init__(
            "scan",
            Job,
            objects,
            now_ms=clock,
            abandoned_ms=LEASE_MS,
            attempts_max=attempts_max,
            removed=self.remove,
        )

    async def remove(self, namespace: Namespace, job_id: str) -> None:
        self.removed_ids.append(job_id)


class CountingStore:
    """Passes everything on to a store, and counts what it is asked for."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._objects, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return method(*args, **kwargs)

        return counted

    def iter_keys(self, prefix: str = "") -> AsyncIterator[str]:
        self.calls["list"] += 1
        return self._objects.iter_keys(prefix)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def objects(tmp_path: Path) -> AsyncIterator[ObjectStore]:
    store = open_object_store(tmp_path.as_uri())
    yield store
    await store.aclose()


async def test_a_job_is_shown_by_every_gateway_without_what_only_they_need(
    objects: ObjectStore, clock: Clock
) -> None:
    job = await Gateway(objects, clock).begin(BOOKS)

    seen = await Gateway(objects, clock).get(BOOKS, job.id)

    assert seen == job
    assert shown(seen) == {
        "id": job.id,
        "namespace": "books",
        "status": "running",
        "progress": 0.0,
        "documents_scanned": 0,
        "created_at": "2026-05-28T20:26:40.000Z",
    }


async def test_a_job_that_is_heard_of_is_taken_up_by_nobody(
    objects: ObjectStore, clock: Clock
) -> None:
    one, other = Gateway(objects, clock), Gateway(objects, clock)
    job = await one.begin(BOOKS)
    clock.now_ms += LEASE_MS
    assert await one.keep(job)
    clock.now_ms += LEASE_MS

    assert await other.take_up(await other.get(BOOKS, job.id)) is None


async def test_a_silent_job_is_taken_up_once_and_its_first_owner_finds_out(
    objects: ObjectStore, clock: Clock
) -> None:
    one, second, third = (Gateway(objects, clock) for _ in range(3))
    job = await one.begin(BOOKS)
    clock.now_ms += LEASE_MS + 1
    seen = await third.get(BOOKS, job.id)

    taken = await second.take_up(await second.get(BOOKS, job.id))

    assert taken is not None
    assert taken.attempt == 2
    assert await third.take_up(seen) is None
    assert not await one.keep(job)
    await one.end(job)  # too late
    assert (await third.get(BOOKS, job.id)).status is JobStatus.RUNNING
    await second.end(taken)
    assert (await third.get(BOOKS, job.id)).status is JobStatus.COMPLETED


async def test_a_job_is_taken_up_at_once_when_its_owner_lets_go(
    objects: ObjectStore, clock: Clock
) -> None:
    one, other = Gateway(objects, clock), Gateway(objects, clock)
    job = await one.begin(BOOKS)

    await one.let_go(job, error="stopped")

    assert (await other.get(BOOKS, job.id)).status is JobStatus.RUNNING
    assert await other.take_up(await other.get(BOOKS, job.id)) is not None


async def test_the_last_gateway_that_may_have_a_job_ends_it_with_the_reason(
    objects: ObjectStore, clock: Clock
) -> None:
    one, other = Gateway(objects, clock), Gateway(objects, clock)
    job = await one.begin(BOOKS)
    await one.let_go(job, error="stopped")
    taken = await other.take_up(await other.get(BOOKS, job.id))
    assert taken is not None

    await other.let_go(taken, error="stopped again")

    ended = await one.get(BOOKS, job.id)
    assert (ended.status, ended.error) == (JobStatus.FAILED, "stopped again")


async def test_a_silent_job_that_nobody_may_take_up_has_failed(
    objects: ObjectStore, clock: Clock
) -> None:
    job = await Gateway(objects, clock, attempts_max=1).begin(BOOKS)
    clock.now_ms += LEASE_MS + 1

    seen = await Gateway(objects, clock, attempts_max=1).get(BOOKS, job.id)

    assert (seen.status, seen.error) == (JobStatus.FAILED, "the gateway that ran it has ended")


async def test_a_deleted_job_stays_deleted_whoever_writes_it(
    objects: ObjectStore, clock: Clock
) -> None:
    one, other = Gateway(objects, clock), Gateway(objects, clock)
    own, others = await one.begin(BOOKS), await other.begin(BOOKS)

    await one.delete(own)
    await one.delete(await one.get(BOOKS, others.id))

    assert not await one.keep(own)
    assert not await other.keep(others)
    assert list(await Gateway(objects, clock).list(BOOKS)) == []
    assert one.removed_ids == [own.id, others.id]
    with pytest.raises(NotFoundError, match="no such job"):
        await other.get(BOOKS, others.id)


async def test_a_write_that_came_through_unnoticed_does_not_cost_the_job(
    objects: ObjectStore, clock: Clock
) -> None:
    one = Gateway(objects, clock)
    job = await one.begin(BOOKS)
    (key,) = [key async for key in objects.iter_keys()]
    found = await objects.get(key)
    assert found is not None
    await objects.put(key, found.body + b" ")  # as a put that timed out and arrived all the same

    assert await one.keep(job)
    assert await one.keep(job)


async def test_only_jobs_that_have_ended_expire(objects: ObjectStore, clock: Clock) -> None:
    one = Gateway(objects, clock)
    running, ended = await one.begin(BOOKS), await one.begin(Namespace("other"))
    await one.end(ended)
    clock.now_ms += 500
    await one.expire(1000)
    assert one.removed_ids == []

    clock.now_ms += 500
    await one.keep(running)
    await one.expire(1000)

    assert one.removed_ids == [ended.id]
    assert [job.id for job in await one.list(BOOKS)] == [running.id]


@pytest.mark.parametrize("has_objects", [True, False])
async def test_the_oldest_jobs_that_have_ended_make_room(
    objects: ObjectStore, clock: Clock, *, has_objects: bool
) -> None:
    one = Gateway(objects if has_objects else None, clock)
    running = await one.begin(BOOKS)
    await one.room.settle()
    for _ in range(JOBS_KEPT_MIN + JOBS_OVER_MAX):
        clock.now_ms += 1
        await one.add_ended(one.new(BOOKS))
        await one.room.settle()

    kept = await one.list(BOOKS)

    assert len(kept) == JOBS_KEPT_MIN
    assert kept[0].id == running.id
    assert len(one.removed_ids) == JOBS_OVER_MAX + 1
    assert kept[-1].created_ms == clock.now_ms


async def test_jobs_that_come_while_a_namespace_is_looked_at_count_towards_the_next_look() -> None:
    looks_count, seen = 0, asyncio.Event()

    async def keep_latest(_: Namespace, count: int) -> int:
        nonlocal looks_count
        looks_count += 1
        await seen.wait()
        return count

    room = RoomForJobs(keep_latest)
    room.taken(BOOKS)
    await asyncio.sleep(0)
    for _ in range(3):
        room.taken(BOOKS)
    seen.set()
    await room.settle()

    for _ in range(JOBS_OVER_MAX - 3):
        room.taken(BOOKS)
    await room.settle()
    assert looks_count == 1

    room.taken(BOOKS)
    await room.settle()
    assert looks_count == 2


async def test_adding_a_job_that_has_ended_is_one_write_and_rarely_a_listing(
    objects: ObjectStore, clock: Clock
) -> None:
    counting = CountingStore(objects)
    one = Gateway(counting, clock)

    for _ in range(JOBS_OVER_MAX):
        await one.add_ended(one.new(BOOKS))
        await one.room.settle()

    assert counting.calls == {"put": JOBS_OVER_MAX, "list": 1}


async def test_a_job_that_was_seen_is_found_again_without_a_listing(
    objects: ObjectStore, clock: Clock
) -> None:
    counting = CountingStore(objects)
    one, other = Gateway(counting, clock), Gateway(counting, clock)
    job = one.new(BOOKS)
    await one.add_ended(job)
    await one.room.settle()
    await other.get(BOOKS, job.id)
    counting.calls.clear()

    assert await one.get(BOOKS, job.id) == job
    assert await other.get(BOOKS, job.id) == job
    with pytest.raises(NotFoundError):
        await one.get(Namespace("other"), job.id)

    assert counting.calls == {"get": 2, "list": 1}


async def test_without_an_object_store_jobs_end_with_their_gateway(clock: Clock) -> None:
    one = Gateway(None, clock)
    job = await one.begin(BOOKS)
    await one.let_go(job, error="stopped")

    assert [(job.status, job.error) for job in await one.list(BOOKS)] == [
        (JobStatus.FAILED, "stopped")
    ]
    await one.delete(job)
    assert list(await one.list(BOOKS)) == []
