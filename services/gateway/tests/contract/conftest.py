"""One gateway over the embedded store for each module, asked over either transport."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.transports import OverHttp, OverRpc, Transport


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with embedded_store(tmp_path_factory.mktemp("vectorstore")) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(store_url: str) -> AsyncIterator[ServiceProcess]:
    async with gateway_over(store_url) as process:
        yield process


@pytest.fixture(scope="module")
def store(store_url: str) -> EdgeCaller:
    """Return what writes past the gateway."""
    return EdgeCaller(store_url.removeprefix("http://"), key=KEY)


@pytest.fixture(scope="module")
def edge(gateway: ServiceProcess) -> EdgeCaller:
    """Return what writes the rows that both transports are asked for."""
    return EdgeCaller(gateway.addresses["http"], key=KEY)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["http", "grpc"])
async def transport(
    request: pytest.FixtureRequest, gateway: ServiceProcess
) -> AsyncIterator[Transport]:
    if request.param == "http":
        yield OverHttp(gateway.addresses["http"])
    else:
        async with grpc.aio.insecure_channel(gateway.addresses["grpc"]) as channel:
            yield OverRpc(channel)
