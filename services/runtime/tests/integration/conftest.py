"""One PostgreSQL a session, a database a test; functions as they run, one system a module."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from layer_runtime.adapters.postgres.database import Database, Limits, open_database
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics
from layer_runtime.adapters.postgres.migrations import migrate
from layer_testing.function_system import FunctionSystem, function_system
from layer_testing.gateway_calls import KEY
from layer_testing.postgres import PostgresServer, postgres_server

LIMITS = Limits(connections_max=8, statement_timeout_s=10, idle_in_transaction_ms=5000)
ROWS: list[dict[str, Any]] = [
    {"id": "t-1", "vector": [1.0, 0.0], "kind": "saw", "size": 1},
    {"id": "t-2", "vector": [0.0, 1.0], "kind": "saw", "size": 2},
    {"id": "t-3", "vector": [0.7, 0.7], "kind": "drill"},
]


NOWHERE: Final = "127.0.0.1:9"
"""Where nothing listens."""


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FunctionSystem]:
    """A gateway, a store, a database and a runtime."""
    folder = tmp_path_factory.mktemp("f")
    async with function_system(folder, postgres.new_database()) as found:
        yield found


@pytest.fixture(params=["http", "grpc"])
def layer(request: pytest.FixtureRequest, system: FunctionSystem) -> FunctionSystem:
    """The system by each of its transports."""
    return system.by(request.param)


@pytest_asyncio.fixture(loop_scope="module")
async def tools(layer: FunctionSystem) -> str:
    """A namespace of three rows."""
    name = f"tools-{secrets.token_hex(4)}"
    await layer.write(name, upsert_rows=ROWS, distance_metric="cosine_distance")
    return name


@pytest.fixture
def tag() -> str:
    """Id of a function that no other test uses."""
    return f"tag-{secrets.token_hex(4)}"


@pytest.fixture(params=["http", "grpc", "fallback"])
def options(request: pytest.FixtureRequest, layer: FunctionSystem) -> dict[str, Any]:
    """How a worker reaches the system: by either transport, or by one that is not there."""
    runtime = layer.runtimes[0].addresses["grpc"]
    addresses = {"http": "", "grpc": runtime, "fallback": NOWHERE}
    return {
        "base_url": f"http://{layer.edge.address}",
        "api_key": KEY,
        "runtime_address": addresses[request.param],
        "handles_signals": False,
        "once": True,
    }
