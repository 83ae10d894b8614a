"""One PostgreSQL a session, a database a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from prometheus_client import CollectorRegistry

from layer_runtime.adapters.postgres.database import Database, Limits, open_database
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics
from layer_runtime.adapters.postgres.migrations import migrate
from layer_testing.postgres import PostgresServer, postgres_server

LIMITS = Limits(connections_max=8, statement_timeout_s=10, idle_in_transaction_ms=5000)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Yield a pool over a database of its own that has the schema."""
    metrics = DatabaseMetrics(CollectorRegistry())
    async with open_database(database_url, LIMITS, metrics=metrics, pool_name="test") as database:
        await migrate(database)
        yield database
