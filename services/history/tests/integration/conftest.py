"""The history as a process: one for each module, and more over a directory of a test's own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from layer_history_testing.client import HistoryClient, running_history
from layer_testing.processes import ServiceProcess

Running = tuple[HistoryClient, ServiceProcess]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the shared service's object store."""
    return tmp_path_factory.mktemp("store")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(store: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_history(
        tmp_path_factory.mktemp("data"),
        store,
        LAYER_HISTORY_FLUSH_INTERVAL_S="0.1",
        LAYER_HISTORY_MAINTENANCE_INTERVAL_S="0.2",
        LAYER_HISTORY_HASH_KEY="a-key",
    ) as found:
        yield found


@pytest.fixture
def history(shared: Running) -> HistoryClient:
    """Return a client of the shared service with a namespace of its own."""
    shared[0].namespace = f"test-{secrets.token_hex(6)}"
    return shared[0]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "history"


@pytest.fixture
def start(tmp_path: Path, data: Path) -> Any:
    """Return what starts a service, each time over the same two folders."""

    def begin(**environment: str) -> AbstractAsyncContextManager[Running]:
        return running_history(data, tmp_path / "store", **environment)

    return begin
