"""History at the edge while the service, or the gateway, comes and goes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.history_calls import BOOKS, history_path, search, told
from layer_testing.processes import ServiceProcess, running
from layer_testing.scripted_store import ScriptedStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

HASTE = {"LAYER_GATEWAY_SHUTDOWN_GRACE_S": "1"}
"""For a gateway whose history stays away, which would try to deliver until its stop has to end."""

Start = Callable[..., AbstractAsyncContextManager[ServiceProcess]]


@pytest.fixture
def history(tmp_path: Path) -> Start:
    """Return what starts the service, each time on the same socket and over the same data."""

    def start() -> AbstractAsyncContextManager[ServiceProcess]:
        return running(
            "layer_history",
            LAYER_HISTORY_GRPC_ADDRESS=socket_of(tmp_path),
            LAYER_HISTORY_DATA_DIRECTORY=str(tmp_path / "history"),
        )

    return start


@pytest.fixture
def told_gateway(store: ScriptedStore, tmp_path: Path) -> Any:
    """Return what starts a gateway with history; it gives a caller of it."""

    @asynccontextmanager
    async def start(**settings: str) -> AsyncIterator[EdgeCaller]:
        environment = {
            "LAYER_GATEWAY_HISTORY_ADDRESS": socket_of(tmp_path),
            "LAYER_GATEWAY_HISTORY_SPOOL_DIRECTORY": str(tmp_path / "spool"),
        }
        async with gateway_over(store.url, **(environment | settings)) as process:
            edge = EdgeCaller(process.addresses["http"], key=KEY)
            yield edge

    return start


@pytest.fixture(autouse=True)
def books(store: ScriptedStore) -> None:
    store.namespace(BOOKS, rows=({"id": 7, "$dist": 0.1},), id="uint")


def socket_of(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'h.sock'}"


async def test_events_of_an_outage_are_delivered_in_order_and_once(
    history: Start, told_gateway: Any, tmp_path: Path
) -> None:
    async with told_gateway() as edge:
        async with history() as service:
            await search(edge, 0)
            await told(edge, 1)
            await service.kill()
        for n in range(1, 6):
            await search(edge, n)
            await spooled(tmp_path, at_least=1)
        assert (await edge("GET", history_path())).status == 502
        async with history():
            entries = await told(edge, 6)
            await search(edge, 6)
            await told(edge, 7)
        assert [entry["query"]["top_k"] for entry in entries] == [6, 5, 4, 3, 2, 1]
        assert not list((tmp_path / "spool").glob("*.batch"))


async def test_what_was_spooled_outlives_the_gateway(
    history: Start, told_gateway: Any, tmp_path: Path
) -> None:
    async with told_gateway(**HASTE) as edge:
        await search(edge, 1)
        await spooled(tmp_path, at_least=1)
        await search(edge, 2)
    async with history(), told_gateway() as edge:
        entries = await told(edge, 2)
    assert [entry["query"]["top_k"] for entry in entries] == [3, 2]


async def test_a_stop_delivers_what_is_queued(history: Start, told_gateway: Any) -> None:
    async with history():
        async with told_gateway() as edge:
            await asyncio.gather(*(search(edge, n) for n in range(20)))
        async with told_gateway() as edge:
            await told(edge, 20)


async def test_each_worker_has_a_spool_of_its_own(
    history: Start, told_gateway: Any, tmp_path: Path
) -> None:
    async with told_gateway(LAYER_GATEWAY_WORKERS="2") as edge:
        for n in range(12):
            await search(edge, n)
        await spooled(tmp_path, at_least=1)
        assert {"worker-0", "worker-1"} <= set(os.listdir(tmp_path / "spool"))  # noqa: PTH208
        async with history():
            entries = await told(edge, 12)
    assert sorted(entry["query"]["top_k"] for entry in entries) == list(range(1, 13))


async def test_workers_that_are_no_more_leave_their_spool_to_the_first(
    history: Start, told_gateway: Any, tmp_path: Path
) -> None:
    async with told_gateway(LAYER_GATEWAY_WORKERS="3", **HASTE) as edge:
        for n in range(12):
            await search(edge, n)
        await spooled(tmp_path, at_least=1)
    folders = {path.parent.name for path in (tmp_path / "spool").rglob("*.batch")}
    assert folders & {"worker-1", "worker-2"}
    async with history(), told_gateway() as edge:
        entries = await told(edge, 12)
    assert sorted(entry["query"]["top_k"] for entry in entries) == list(range(1, 13))


async def test_a_spool_without_room_drops_and_counts(told_gateway: Any, tmp_path: Path) -> None:
    async with told_gateway(LAYER_GATEWAY_HISTORY_SPOOL_BYTES_MAX="300", **HASTE) as edge:
        for n in range(3):
            await search(edge, n)
            await asyncio.sleep(0)

        async def dropped() -> bool:
            metrics = (await edge("GET", "/metrics")).body.decode()
            return 'layer_history_edge_events_total{result="dropped"}' in metrics

        for n in range(20):
            await search(edge, n)
        await eventually(dropped)
        size_bytes = sum(path.stat().st_size for path in (tmp_path / "spool").glob("*.batch"))
    assert size_bytes <= 300


async def spooled(tmp_path: Path, *, at_least: int) -> None:
    async def is_spooled() -> bool:
        return len(list((tmp_path / "spool").rglob("*.batch"))) >= at_least

    await eventually(is_spooled)
