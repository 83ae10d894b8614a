"""No gateway takes on more background work than it may, whatever number of namespaces asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from layer_gateway.application import blob_warming, migrating, warm_jobs
from layer_gateway.application.blob_warming import BlobReferences, WarmBlobs
from layer_gateway.application.job_records import Job
from layer_gateway.application.jobs import Jobs
from layer_gateway.application.layer_state import LayerState
from layer_gateway.application.migrating import MigrateNamespace
from layer_gateway.application.warm_jobs import WarmJobs
from layer_gateway.ports.stores import Caller
from layer_kit.errors import QuotaExceededError
from layer_kit.names import Namespace

NOBODY = Caller()
ROOM = 2


def named(count: int) -> list[Namespace]:
    return [Namespace(f"n-{at}") for at in range(count)]


async def forever(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


def assert_full(error: pytest.ExceptionInfo[QuotaExceededError]) -> None:
    assert error.value.reason == "TOO_MANY_JOBS"
    assert error.value.retry_after_s


async def test_migrations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "RUNNING_MAX", ROOM)
    monkeypatch.setattr(migrating, "ANSWER_S_MAX", 0)

    async def begun(*_: object, **__: object) -> LayerState:
        return LayerState(stable_as_of=None, is_stable=False, shard_count=2, init_state="running")

    migrate = MigrateNamespace(
        init_namespace=cast("Any", begun), objects=None, shard_count_default=2, now_ms=lambda: 0
    )
    *first, last = named(ROOM + 1)
    for namespace in first:
        assert (await migrate(namespace, None, NOBODY)).completed_at is None
    with pytest.raises(QuotaExceededError) as error:
        await migrate(last, None, NOBODY)
    assert_full(error)
    await migrate(first[0], None, NOBODY)  # what runs already is followed
    await migrate.aclose()
    await migrate(last, None, NOBODY)
    await migrate.aclose()


async def test_warmings_of_blobs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_warming, "RUNNING_MAX", ROOM)
    monkeypatch.setattr(blob_warming, "ANSWER_S_MAX", 0)

    async def known(*_: object) -> object:
        return SimpleNamespace(types={"image": "string"})

    async def pages(*_: object) -> AsyncIterator[list[Any]]:
        await forever()
        yield []

    warm = WarmBlobs(
        blobs=cast("Any", None),
        facts=cast("Any", SimpleNamespace(covering=known)),
        stream_rows=cast("Any", pages),
        references=BlobReferences({"*": ["image"]}),
    )
    *first, last = named(ROOM + 1)
    for namespace in first:
        assert not (await warm(namespace, NOBODY, budget_bytes=1, page_size=1)).is_over
    with pytest.raises(QuotaExceededError) as error:
        await warm(last, NOBODY, budget_bytes=1, page_size=1)
    assert_full(error)
    await warm(first[0], NOBODY, budget_bytes=1, page_size=1)
    await warm.aclose()
    await warm(last, NOBODY, budget_bytes=1, page_size=1)
    await warm.aclose()


async def test_warmings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_jobs, "RUNNING_MAX", ROOM)

    async def refreshed() -> None:
        pass

    cache = SimpleNamespace(is_available=True, connection=SimpleNamespace(generation=1))
    jobs = WarmJobs(
        warm=cast("Any", SimpleNamespace(cache=cache, hint=forever)),
        jobs=Jobs("warm", Job, None, now_ms=lambda: 0),
        states=cast("Any", SimpleNamespace(refresh=refreshed)),
        is_reactive=False,
        monotonic=lambda: 0.0,
    )
    *first, last = named(ROOM + 1)
    started = [await jobs.start(namespace, NOBODY) for namespace in first]
    with pytest.raises(QuotaExceededError) as error:
        await jobs.start(last, NOBODY)
    assert_full(error)
    assert await jobs.start(first[0], NOBODY) is started[0]
    await jobs.aclose()
