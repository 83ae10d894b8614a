from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest
from turbopuffer import AsyncTurbopuffer

from layer_testing.processes import ServiceProcess, running

Start = Callable[..., AbstractAsyncContextManager[ServiceProcess]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start the service on this test's own directory, with more settings by name."""

    def started(**settings: object) -> AbstractAsyncContextManager[ServiceProcess]:
        wanted = {"http_address": "127.0.0.1:0", "data_directory": tmp_path / "data"} | settings
        environment = {
            f"LAYER_VECTORSTORE_{name.upper()}": str(value) for name, value in wanted.items()
        }
        return running("layer_vectorstore", **environment)

    return started


@pytest.fixture
async def service(start: Start) -> AsyncIterator[ServiceProcess]:
    async with start(faults_enabled=True) as process:
        yield process


@pytest.fixture
async def client(service: ServiceProcess) -> AsyncIterator[AsyncTurbopuffer]:
    async with client_of(service) as found:
        yield found


@pytest.fixture
async def http(service: ServiceProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://{service.addresses['http']}") as session:
        yield session


@pytest.fixture
def new_client() -> Callable[..., AsyncTurbopuffer]:
    return client_of


def client_of(service: ServiceProcess, **options: object) -> AsyncTurbopuffer:
    defaults = {
        "api_key": "any",
        "max_retries": 0,
        "base_url": f"http://{service.addresses['http']}",
    }
    return AsyncTurbopuffer(**(defaults | options))  # type: ignore[arg-type]
