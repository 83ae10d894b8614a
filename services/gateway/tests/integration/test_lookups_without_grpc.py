"""Lookups of a running gateway take the port of lookups, and gRPC while there is none."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

TARGET = "/v2/namespaces/n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with embedded_store(tmp_path_factory.mktemp("store")) as url:
        yield url


@asynccontextmanager
async def cache_at(home: Path, **settings: str) -> AsyncIterator[ServiceProcess]:
    address = f"unix:{home / 'cache.sock'}"
    async with running(
        "layer_cache",
        LAYER_CACHE_GRPC_ADDRESS=address,
        LAYER_CACHE_DATA_DIRECTORY=str(home / "cache"),
        **settings,
    ) as process:
        yield process


class Gateway:
    def __init__(self, process: ServiceProcess) -> None:
        self.edge = EdgeCaller(process.addresses["http"], key=KEY)
        self._process = process

    async def write(self, version: int) -> None:
        body = {"upsert_rows": [{"id": "a", "version": version}]}
        assert (await self.edge("POST", TARGET, body)).status == 200

    async def read(self) -> tuple[int, str]:
        received = await self.edge("GET", f"{TARGET}/documents/a?include_attributes=version")
        return received.json["attributes"]["version"], received["x-layer-cache"]

    async def is_direct(self) -> bool:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://{self._process.addresses['ops']}/metrics") as answer,
        ):
            return 'layer_cache_lookups_direct{replica="0"} 1.0' in await answer.text()

    async def wait_hit(self, version: int, *, is_direct: bool) -> None:
        """Read until the cache answers that way; no answer before may be older."""

        async def is_so() -> bool:
            found, result = await self.read()
            assert found == version
            return result == "hit" and await self.is_direct() is is_direct

        await eventually(is_so)


@asynccontextmanager
async def gateway(home: Path, store_url: str) -> AsyncIterator[Gateway]:
    address = f"unix:{home / 'cache.sock'}"
    async with gateway_over(store_url, LAYER_GATEWAY_CACHE_ADDRESS=address) as process:
        yield Gateway(process)


async def test_the_port_is_found_and_found_again_after_the_cache_was_frozen_and_killed(
    store_url: str, tmp_path: Path
) -> None:
    async with gateway(tmp_path, store_url) as one:
        async with cache_at(tmp_path) as cache:
            await one.write(1)
            await one.wait_hit(1, is_direct=True)
            os.kill(cache.pid, signal.SIGSTOP)
            try:
                assert await one.read() == (1, "miss-on-error")
                await one.write(2)
                assert await one.read() == (2, "miss-on-error")
            finally:
                os.kill(cache.pid, signal.SIGCONT)
            await one.wait_hit(2, is_direct=True)
            await cache.kill()
            assert await one.read() == (2, "miss-on-error")
            assert not await one.is_direct()
        async with cache_at(tmp_path):
            await one.wait_hit(2, is_direct=True)


async def test_a_cache_without_the_port_is_asked_over_grpc(store_url: str, tmp_path: Path) -> None:
    async with (
        cache_at(tmp_path, LAYER_CACHE_LOOKUPS_ADDRESS="off"),
        gateway(tmp_path, store_url) as one,
    ):
        await one.write(3)
        await one.wait_hit(3, is_direct=False)
