"""The failure table: what fails, by row, and what the callers of the data plane see of it.

The faults are real: processes are killed or stopped, a disk takes no more, an object store is not
there. What a store can answer, or not, is in the gateway's own tests of faults.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess, running
from layer_testing.scripted_store import Exchange, ScriptedStore, answer, scripted_store
from tests.chaos.faults import Link, open_link

ROWS = "/v2/namespaces/rows"
NOWHERE = "http://127.0.0.1:9"
QUERY = {"vector": [1.0, 0.0], "top_k": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A gateway, and the processes behind it."""

    edge: EdgeCaller
    gateway: ServiceProcess
    cache: ServiceProcess
    link: Link
    """Between the two."""

    async def write(self, **row: object) -> None:
        body = {
            "upsert_rows": [{"vector": [1.0, 0.0], **row}],
            "distance_metric": "cosine_distance",
        }
        received = await self.edge("POST", ROWS, body)
        assert received.status == 200, received.body

    async def fetch(self, id_: str) -> tuple[object, str]:
        received = await self.edge("GET", f"{ROWS}/documents/{id_}?include_attributes=k")
        assert received.status == 200, received.body
        return received.json["attributes"].get("k"), received["x-layer-cache"]

    async def is_connected(self) -> bool:
        health = await self.edge("GET", "/health")
        return bool(health.json["aerospike"]["connected"])


@asynccontextmanager
async def plane_over(
    folder: Path, *, lookups_address: str = "", **environment: str
) -> AsyncIterator[Plane]:
    """Run the embedded store, a cache on disk and a gateway; write two rows that are cached.

    Args:
        lookups_address: The cache's; with ``off`` all that it is asked goes over the link.
    """
    async with (
        embedded_store(folder / "store") as store_url,
        running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0",
            LAYER_CACHE_LOOKUPS_ADDRESS=lookups_address,
            LAYER_CACHE_DATA_DIRECTORY=str(folder / "cache"),
        ) as cache,
        open_link(lambda: cache.addresses["grpc"]) as link,
        gateway_over(store_url, LAYER_GATEWAY_CACHE_ADDRESS=link.address, **environment) as gateway,
    ):
        edge = EdgeCaller(gateway.addresses["http"], key=KEY)
        plane = Plane(edge=edge, gateway=gateway, cache=cache, link=link)
        await plane.write(id="a", k=1)
        await plane.write(id="b", k=2)

        async def is_cached() -> bool:
            return await plane.fetch("a") == (1, "hit") and await plane.fetch("b") == (2, "hit")

        assert await eventually(is_cached)
        yield plane


def ids(received: EdgeAnswer) -> set[str]:
    assert received.status == 200, received.body
    return {row["id"] for row in received.json["rows"]}


async def test_gateway_down_the_others_serve(tmp_path: Path) -> None:
    async with embedded_store(tmp_path / "store") as url, gateway_over(url) as first:
        async with gateway_over(url) as second:
            body = {"upsert_rows": [{"id": "a", "k": 1}]}
            other = EdgeCaller(second.addresses["http"], key=KEY)
            assert (await other("POST", ROWS, body)).status == 200
            await second.kill()
            with pytest.raises(OSError):  # noqa: PT011 -- refused or reset
                await other("GET", f"{ROWS}/documents/a")
        left = EdgeCaller(first.addresses["http"], key=KEY)
        assert (await left("GET", f"{ROWS}/documents/a")).json["attributes"]["k"] == 1


async def test_cache_down_reads_go_upstream_and_writes_succeed(tmp_path: Path) -> None:
    async with plane_over(tmp_path) as plane:
        await plane.cache.kill()
        for _ in range(2):  # what was missed is not brought in, and is missed again
            assert await plane.fetch("a") == (1, "miss-on-error")
        assert ids(await plane.edge("POST", f"{ROWS}/query", QUERY)) == {"a", "b"}
        example = {"nearest_to_id": ["a"], "top_k": 2}
        assert ids(await plane.edge("POST", f"{ROWS}/query", example)) == {"a", "b"}
        await plane.write(id="a", k=3)
        assert await plane.fetch("a") == (3, "miss-on-error")
        assert not await plane.is_connected()
        cold = await plane.edge("POST", f"{ROWS}/warm")
        assert (cold.status, cold.json["error"]) == (503, "cache_cold")
        assert cold.json["cache_state"] == "cold"
        scan = {"mode": "count", "source": "cache"}
        cold = await plane.edge("POST", f"{ROWS}/scans", scan)
        assert (cold.status, cold.json["error"]) == (503, "cache_cold")
        assert (await plane.edge("GET", "/ready")).status == 200


async def test_cache_that_hangs_delays_and_refuses_nothing(tmp_path: Path) -> None:
    async with plane_over(tmp_path) as plane:
        os.kill(plane.cache.pid, signal.SIGSTOP)
        try:
            assert await plane.fetch("a") == (1, "miss-on-error")
            await plane.write(id="a", k=4)
            assert (await plane.fetch("a"))[0] == 4
        finally:
            os.kill(plane.cache.pid, signal.SIGCONT)

        async def is_back() -> bool:
            return await plane.fetch("a") == (4, "hit")

        assert await eventually(is_back)


async def test_a_link_to_the_cache_that_swallows_everything_costs_time_alone(
    tmp_path: Path,
) -> None:
    async with plane_over(tmp_path, lookups_address="off") as plane:
        plane.link.requests.hold()
        plane.link.answers.hold()
        assert await plane.fetch("a") == (1, "miss-on-error")
        await plane.write(id="a", k=4)
        assert (await plane.fetch("a"))[0] == 4
        assert ids(await plane.edge("POST", f"{ROWS}/query", QUERY)) == {"a", "b"}
        assert (await plane.edge("GET", "/ready")).status == 200
        plane.link.requests.release()  # what was swallowed arrives after all, unanswered
        await plane.write(id="a", k=5)
        assert (await plane.fetch("a"))[0] == 5
        plane.link.answers.release()

        async def is_back() -> bool:
            value, served_from = await plane.fetch("a")
            assert value == 5
            return served_from == "hit"

        assert await eventually(is_back)


async def test_cache_stop_writes_is_soft(tmp_path: Path) -> None:
    async with plane_over(tmp_path) as plane:
        _, hard = resource.prlimit(plane.cache.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(plane.cache.pid, resource.RLIMIT_FSIZE, (0, hard))
        for value in range(5, 8):
            await plane.write(id="a", k=value)
            assert (await plane.fetch("a"))[0] == value
        for _ in range(2):  # nor is what was missed kept: the disk does take no more
            assert await plane.fetch("a") == (7, "miss")
        assert await plane.fetch("b") == (2, "hit")
        assert ids(await plane.edge("POST", f"{ROWS}/query", QUERY)) == {"a", "b"}


@pytest.mark.parametrize("is_watermark_known", [False, True])
async def test_upstream_429_on_an_unfiltered_query_is_tried_once_more(
    *, is_watermark_known: bool
) -> None:
    async with scripted_store() as store, gateway_over(store.url) as gateway:
        edge = EdgeCaller(gateway.addresses["http"], key=KEY)
        types = {"vector": "[2]f32", "_hevlayer_upserted_at": "int"}
        store.namespace("rows", rows=({"id": "a", "$dist": 0.5},), **types)
        if is_watermark_known:
            store.answers[f"GET {ROWS}/metadata"] = answer({"index": {"status": "up-to-date"}})

        async def is_known() -> bool:
            return "x-layer-stable-as-of" in await edge("POST", f"{ROWS}/query", QUERY)

        assert not is_watermark_known or await eventually(is_known)
        for refusals_count, status in ((1, 200), (2, 429)):
            busy = Busy(store, refusals_count)
            received = await edge("POST", f"{ROWS}/query", QUERY)
            busy.end()
            assert (received.status, len(busy.asked)) == (status, 2)
            first, second = (one.get("filters") for one in busy.asked)
            assert first is None
            cut = ["_hevlayer_upserted_at", "Lte"]
            assert (second or [])[:2] == (cut if is_watermark_known else [])
            if status == 429:
                assert received["retry-after"] == "7"


class Busy:
    """A store that refuses a query so often, and then answers it."""

    def __init__(self, store: ScriptedStore, refusals_count: int) -> None:
        self.asked: list[dict[str, Any]] = []
        self._left_count = refusals_count
        self._answer = store.answers[f"POST {ROWS}/query"]
        self._answers = store.answers
        store.answers[f"POST {ROWS}/query"] = self._serve

    def end(self) -> None:
        self._answers[f"POST {ROWS}/query"] = self._answer

    async def _serve(self, exchange: Exchange) -> None:
        if b'"ANN"' in exchange.request.body:
            self.asked.append(exchange.request.json)
            if self._left_count:
                self._left_count -= 1
                await exchange.say(answer({"error": "busy"}, 429, retry_after="7"))
                return
        assert isinstance(self._answer, bytes)
        await exchange.say(self._answer)


async def test_s3_down_query_fetch_and_write_are_fine(tmp_path: Path) -> None:
    s3 = {
        "S3_BUCKET": "any",
        "S3_ENDPOINT": NOWHERE,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    async with (
        running("layer_snapshots", LAYER_SNAPSHOTS_GRPC_ADDRESS="127.0.0.1:0", **s3) as snapshots,
        plane_over(
            tmp_path, LAYER_GATEWAY_SNAPSHOTS_ADDRESS=snapshots.addresses["grpc"], **s3
        ) as plane,
    ):
        await plane.write(id="c", k=9)
        assert await plane.fetch("c") == (9, "hit")
        assert ids(await plane.edge("POST", f"{ROWS}/query", {**QUERY, "top_k": 3})) >= {"a", "b"}
        count = {"mode": "count", "filters": ["k", "Eq", 9]}
        counted = await plane.edge("POST", f"{ROWS}/scans", count)
        assert (counted.status, counted.json["count"]) == (200, 1)
        insisting = await plane.edge("POST", f"{ROWS}/scans", {**count, "source": "snapshot"})
        assert (insisting.status, insisting.json["error"]) == (502, "upstream_error")
        put = await plane.edge("PUT", "/v1/namespaces/rows/blobs", b"x")
        assert (put.status, put.json["error"]) == (502, "upstream_error")
        deleted = await plane.edge("DELETE", ROWS)
        assert (deleted.status, deleted.json["reason"]) == (502, "PURGE_FAILED")


async def test_watcher_poll_error_keeps_the_last_watermark() -> None:
    async with (
        scripted_store() as store,
        gateway_over(
            store.url,
            LAYER_GATEWAY_CONSISTENCY_POLL_INTERVAL_MS="50",
            LAYER_GATEWAY_CONSISTENCY_STABLE_POLL_INTERVAL_MS="50",
        ) as gateway,
    ):
        edge = EdgeCaller(gateway.addresses["http"], key=KEY)
        store.namespace("rows", rows=({"id": "a", "$dist": 0.5},), vector="[2]f32")
        metadata = f"GET {ROWS}/metadata"
        store.answers[metadata] = answer({"index": {"status": "up-to-date"}})

        async def watermark() -> int:
            received = await edge("POST", f"{ROWS}/query", QUERY)
            assert received.status == 200
            return (
                int(received["x-layer-stable-as-of"]) if "x-layer-stable-as-of" in received else 0
            )

        assert await eventually(watermark)
        store.answers[metadata] = answer({"error": "broken"}, 500)
        before, asked_count = await watermark(), len(store.asked(metadata))

        async def has_polled_in_vain() -> bool:
            return len(store.asked(metadata)) > asked_count + 2  # so two answers have been read

        assert await eventually(has_polled_in_vain)
        last = await watermark()
        assert last >= before > 0  # a poll was maybe on its way
        assert await watermark() == last
        assert (await edge("GET", "/ready")).status == 200
