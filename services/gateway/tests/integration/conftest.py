"""A gateway process over a scripted store, or over the embedded one, for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, Caller, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess
from layer_testing.scripted_store import ScriptedStore, scripted_store

BODY_BYTES_MAX = 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store() -> AsyncIterator[ScriptedStore]:
    async with scripted_store() as store:
        yield store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(store: ScriptedStore) -> AsyncIterator[ServiceProcess]:
    async with gateway_over(
        store.url,
        LAYER_GATEWAY_BODY_BYTES_MAX=str(BODY_BYTES_MAX),
        LAYER_GATEWAY_UPSTREAM_TIMEOUT_S="1",
    ) as process:
        yield process


@pytest.fixture
def edge(gateway: ServiceProcess, store: ScriptedStore) -> EdgeCaller:
    """Return a caller of the gateway; the store remembers no request of another test."""
    store.requests.clear()
    return EdgeCaller(gateway.addresses["http"], key=KEY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The embedded store, for what a scripted one could not answer."""
    async with embedded_store(tmp_path_factory.mktemp("vectorstore")) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(store_url: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a gateway over the embedded store."""
    async with (
        gateway_over(store_url) as process,
        grpc.aio.insecure_channel(process.addresses["grpc"]) as channel,
    ):
        yield channel


@pytest.fixture
def caller(channel: grpc.aio.Channel) -> Caller:
    return Caller(channel)
