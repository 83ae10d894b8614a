"""The schema: made once, by one of many, forwards only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry

from layer_kit.configuration import ConfigurationError
from layer_kit.errors import UnavailableError
from layer_runtime.adapters.postgres.database import Database, Limits, open_database
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics
from layer_runtime.adapters.postgres.migrations import Migration, migrate, released_migrations

LIMITS = Limits(connections_max=4, statement_timeout_s=10, idle_in_transaction_ms=5000)
FIRST = Migration(number=1, name="first", statements="CREATE TABLE layer.one (number integer)")
SECOND = Migration(number=2, name="second", statements="CREATE TABLE layer.two (number integer)")
BROKEN = Migration(
    number=2, name="broken", statements="CREATE TABLE layer.two (number integer); SELECT 1 / 0"
)


async def opened(url: str, stack: AsyncExitStack) -> Database:
    metrics = DatabaseMetrics(CollectorRegistry())
    return await stack.enter_async_context(
        open_database(url, LIMITS, metrics=metrics, pool_name="test")
    )


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with AsyncExitStack() as stack:
        yield await opened(database_url, stack)


async def test_the_release_is_applied_once(database: Database) -> None:
    assert await migrate(database) == len(released_migrations())
    assert await migrate(database) == 0


async def test_the_numbers_of_a_release_are_unique() -> None:
    numbers = [migration.number for migration in released_migrations()]
    assert len(set(numbers)) == len(numbers)


async def test_replicas_that_start_together_apply_each_step_once(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        replicas = [await opened(database_url, stack) for _ in range(4)]
        counts = await asyncio.gather(*(migrate(one, [FIRST, SECOND]) for one in replicas))
        assert sum(counts) == 2
        rows = await replicas[0].fetch("test", "SELECT number FROM layer.migrations ORDER BY 1")
        assert [row["number"] for row in rows] == [1, 2]


async def test_a_step_that_fails_leaves_nothing_and_those_before_it_stay(
    database: Database,
) -> None:
    with pytest.raises(Exception, match="division by zero"):
        await migrate(database, [FIRST, BROKEN])

    assert await database.fetchval("test", "SELECT to_regclass('layer.two') IS NULL")
    assert await migrate(database, [FIRST, SECOND]) == 1


async def test_an_older_release_runs_on_the_schema_of_a_newer_one(database: Database) -> None:
    await migrate(database, [FIRST, SECOND])
    assert await migrate(database, [FIRST]) == 0


async def test_a_step_that_was_edited_after_its_release_stops_the_start(
    database: Database,
) -> None:
    await migrate(database, [FIRST])
    edited = Migration(number=1, name="first", statements="SELECT 1")
    with pytest.raises(ConfigurationError, match="migration 0001"):
        await migrate(database, [edited])


async def test_a_database_that_is_away_is_told_as_such(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        missing = await opened(database_url.replace("test_", "none_"), stack)
        with pytest.raises(UnavailableError) as caught:
            await migrate(missing)
    assert caught.value.reason == "DATABASE_DOWN"
