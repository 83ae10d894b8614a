"""The service beside its database: what it says of itself while that comes and goes."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from layer_testing.postgres import postgres_server
from layer_testing.processes import launch, running

MODULE = "layer_runtime"
WAIT_S_MAX = 30.0


def environment(url: str) -> dict[str, str]:
    return {"LAYER_RUNTIME_GRPC_ADDRESS": "127.0.0.1:0", "DATABASE_URL": url}


async def readiness(ops_address: str, *, ready: bool) -> dict[str, Any]:
    """Poll until the service says it is ``ready``, or not; return what it says."""
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(WAIT_S_MAX):
        while True:
            answer = await client.get(f"http://{ops_address}/readyz")
            said: dict[str, Any] = answer.json()
            if said["ready"] is ready:
                return said
            await asyncio.sleep(0.05)


async def test_two_replicas_that_start_together_get_ready(database_url: str) -> None:
    async with (
        running(MODULE, **environment(database_url)) as one,
        running(MODULE, **environment(database_url)) as other,
    ):
        for process in (one, other):
            said = await readiness(process.addresses["ops"], ready=True)
            assert said["components"]["database"] == "ok"


async def test_it_is_not_ready_while_the_database_is_away_and_comes_back_by_itself() -> None:
    with postgres_server() as server:
        url = server.new_database()
        async with running(MODULE, **environment(url)) as service:
            ops = service.addresses["ops"]
            await readiness(ops, ready=True)
            server.cluster.stop()
            said = await readiness(ops, ready=False)
            assert "database cannot be used" in said["components"]["database"]
            server.start()
            await readiness(ops, ready=True)


async def test_it_starts_before_its_database_and_migrates_once_that_is_there() -> None:
    with postgres_server() as server:
        url = server.new_database()
        server.cluster.stop()
        async with running(MODULE, **environment(url)) as service:
            await readiness(service.addresses["ops"], ready=False)
            server.start()
            await readiness(service.addresses["ops"], ready=True)
            assert "migration_applied" in service.stderr


@pytest.mark.parametrize("url", ["mysql://localhost/layer", "layer"])
async def test_what_is_no_url_of_postgresql_stops_the_start(url: str) -> None:
    service = await launch(MODULE, **environment(url))
    assert await service.wait() == 2
    assert "database_url" in service.stderr
