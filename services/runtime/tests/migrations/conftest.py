"""One PostgreSQL a session, a database a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from layer_testing.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> str:
    return postgres.new_database()
