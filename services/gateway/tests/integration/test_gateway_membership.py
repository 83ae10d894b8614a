"""The gateway's membership in the cache: what an acknowledged write waits for, and what it owes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE_S = 1.0
RENEWED_S = 0.5
"""How old a lease may be: it is renewed every half second."""

TARGET = "/v2/namespaces/n"


@asynccontextmanager
async def cache_at(home: Path) -> AsyncIterator[ServiceProcess]:
    async with running(
        "layer_cache",
        LAYER_CACHE_GRPC_ADDRESS=f"unix:{home / 'cache.sock'}",
        LAYER_CACHE_DATA_DIRECTORY=str(home / "cache"),
        LAYER_CACHE_LEASE_S=str(LEASE_S),
    ) as process:
        yield process


@asynccontextmanager
async def member_of(home: Path, store_url: str) -> AsyncIterator[EdgeCaller]:
    address = f"unix:{home / 'cache.sock'}"
    async with gateway_over(store_url, LAYER_GATEWAY_CACHE_ADDRESS=address) as process:
        yield EdgeCaller(process.addresses["http"], key=KEY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with embedded_store(tmp_path_factory.mktemp("store")) as url:
        yield url


async def write(edge: EdgeCaller, version: int, id_: str = "a") -> float:
    """Write a row; return how long its acknowledgement took, in seconds."""
    began_s = time.monotonic()
    received = await edge("POST", TARGET, {"upsert_rows": [{"id": id_, "version": version}]})
    assert received.status == 200, received.body
    return time.monotonic() - began_s


async def read(edge: EdgeCaller, id_: str = "a") -> tuple[int, str]:
    """Fetch a row; return its version and how the cache had part in it."""
    received = await edge("GET", f"{TARGET}/documents/{id_}?include_attributes=version")
    assert received.status == 200, received.body
    return received.json["attributes"]["version"], received["x-layer-cache"]


async def wait_hit(edge: EdgeCaller, version: int) -> None:
    """Read until the cache answers; no answer on the way may be older than ``version``."""

    async def is_hit() -> bool:
        found, result = await read(edge)
        assert found == version
        return result == "hit"

    await eventually(is_hit)


async def wait_connected(edge: EdgeCaller, *, connected: bool) -> None:
    async def is_so() -> bool:
        health = (await edge("GET", "/health")).json
        return bool(health["aerospike"]["connected"]) is connected

    await eventually(is_so)


async def test_an_unannounced_write_waits_for_the_lease_once(
    store_url: str, tmp_path: Path
) -> None:
    async with cache_at(tmp_path) as cache, member_of(tmp_path, store_url) as edge:
        assert await write(edge, 1) < LEASE_S
        await cache.kill()
        waited_s = await write(edge, 2)
        assert LEASE_S - RENEWED_S - 0.1 < waited_s < LEASE_S + 2
        assert await write(edge, 3) < LEASE_S / 2
        assert await read(edge) == (3, "miss-on-error")


async def test_what_was_written_while_the_cache_was_away_is_not_served_stale(
    store_url: str, tmp_path: Path
) -> None:
    async with member_of(tmp_path, store_url) as edge:
        async with cache_at(tmp_path) as cache:
            await wait_connected(edge, connected=True)
            for id_ in ("a", "untouched"):
                await write(edge, 1, id_)
                assert await read(edge, id_) == (1, "hit")
            await cache.terminate()  # a kill would take the newest rows along
            await write(edge, 2)
        async with cache_at(tmp_path) as cache:
            await wait_connected(edge, connected=True)
            assert await read(edge, "untouched") == (1, "hit")
            assert await read(edge) == (2, "miss")
            assert await read(edge) == (2, "hit")
            await cache.kill()
            by_filter = {"filters": ["version", "Eq", 2], "patch": {"version": 7}}
            received = await edge("POST", TARGET, {"patch_by_filter": by_filter})
            assert received.json["patched_ids"] == ["a"]
        async with cache_at(tmp_path):
            await wait_connected(edge, connected=True)
            assert await read(edge, "untouched") == (1, "hit")
            assert await read(edge) == (7, "miss")


async def test_no_gateway_serves_the_old_row_while_another_cannot_announce(
    store_url: str, tmp_path: Path
) -> None:
    """Stop the cache in its tracks: it comes back with all its memory, and with old rows in it."""
    async with (
        cache_at(tmp_path) as cache,
        member_of(tmp_path, store_url) as writer,
        member_of(tmp_path, store_url) as reader,
    ):
        await write(writer, 1)
        await wait_hit(reader, 1)
        os.kill(cache.pid, signal.SIGSTOP)
        try:
            assert await write(writer, 2) < 3 * LEASE_S + 2
            assert await read(reader) == (2, "miss-on-error")
        finally:
            os.kill(cache.pid, signal.SIGCONT)
        await wait_hit(reader, 2)
        assert await read(writer) == (2, "hit")


async def test_a_gateway_that_left_cleanly_is_not_waited_for(
    store_url: str, tmp_path: Path
) -> None:
    async with cache_at(tmp_path):
        async with member_of(tmp_path, store_url) as edge:
            await write(edge, 1)
        async with member_of(tmp_path, store_url) as edge:
            assert await read(edge) == (1, "hit")


async def test_a_gateway_that_was_killed_is_waited_for(store_url: str, tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'cache.sock'}"
    async with cache_at(tmp_path), member_of(tmp_path, store_url) as edge:
        await write(edge, 1)
        async with gateway_over(store_url, LAYER_GATEWAY_CACHE_ADDRESS=address) as other:
            assert await read(edge) == (1, "hit")
            await other.kill()

        async def is_suspended() -> bool:
            return (await read(edge))[1] == "miss"

        assert await eventually(is_suspended)


async def test_a_gateway_starts_without_its_cache_and_finds_it_later(
    store_url: str, tmp_path: Path
) -> None:
    async with member_of(tmp_path, store_url) as edge:
        assert (await edge("GET", "/ready")).status == 200
        assert await write(edge, 1) < LEASE_S / 2
        assert await read(edge) == (1, "miss-on-error")
        async with cache_at(tmp_path):
            await wait_connected(edge, connected=True)
            await wait_hit(edge, 1)


async def test_a_namespace_made_anew_with_ids_of_another_kind_shows_nothing_of_the_old(
    store_url: str, tmp_path: Path
) -> None:
    rows = "/v2/namespaces/remade"
    store = EdgeCaller(store_url.removeprefix("http://"), key=KEY)
    async with cache_at(tmp_path), member_of(tmp_path, store_url) as edge:
        for number, id_ in enumerate([2, "2", 2]):
            # Straight at the store, as if another gateway had not come to its end yet.
            await store("DELETE", rows)
            body = {"upsert_rows": [{"id": id_, "version": number}]}
            assert (await edge("POST", rows, body)).status == 200
            found = await edge("GET", f"{rows}/documents/2")
            assert found.json["attributes"]["version"] == number


async def test_nor_does_it_through_a_gateway_that_knew_the_old(
    store_url: str, tmp_path: Path
) -> None:
    rows = "/v2/namespaces/remade-elsewhere"
    store = EdgeCaller(store_url.removeprefix("http://"), key=KEY)
    async with (
        cache_at(tmp_path),
        member_of(tmp_path, store_url) as reader,
        member_of(tmp_path, store_url) as writer,
    ):
        await reader("POST", rows, {"upsert_rows": [{"id": "2", "version": 0}]})
        assert (await reader("GET", f"{rows}/documents/2"))["x-layer-cache"] == "hit"
        await store("DELETE", rows)  # as if a third gateway had not come to its end yet
        body = {"upsert_rows": [{"id": 2, "version": 1}]}
        assert (await writer("POST", rows, body)).status == 200
        found = await reader("GET", f"{rows}/documents/2")
        assert found.json["attributes"]["version"] == 1
