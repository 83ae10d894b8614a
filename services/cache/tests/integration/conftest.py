"""The cache as a process, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from layer.cache.v1.cache_pb2_grpc import CacheServiceStub
from layer_kit.rpc.client import open_channel
from layer_testing.processes import ServiceProcess, running

Running = tuple[CacheServiceStub, ServiceProcess]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Running]]:
    """Return what starts the cache, each time over the same directory."""

    @asynccontextmanager
    async def run(**environment: str) -> AsyncIterator[Running]:
        settings = {
            "LAYER_CACHE_GRPC_ADDRESS": "127.0.0.1:0",
            "LAYER_CACHE_DATA_DIRECTORY": str(tmp_path / "cache"),
            "LAYER_CACHE_DISK_BYTES_MAX": str(16 * 1024 * 1024),
        }
        async with (
            running("layer_cache", **(settings | environment)) as process,
            open_channel(process.addresses["grpc"], retries=False) as channel,
        ):
            yield CacheServiceStub(channel), process

    return run
