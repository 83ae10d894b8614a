"""History amid kills and outages of its bucket ends with exactly what was acknowledged.

Appenders send batches over gRPC and send each again until it is acknowledged; users search through
a gateway that never dies, and through one that is killed now and then. Meanwhile the service is
killed and the bucket cannot be reached, both at random moments. In the end the service is killed
for good, its disk is thrown away, and another one, on an empty disk, reads the bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from layer_history_testing.client import HistoryClient, query
from layer_kit.errors import LayerError
from layer_kit.rpc.client import open_channel
from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.history_calls import BOOKS
from layer_testing.processes import ServiceProcess, running
from layer_testing.s3 import S3Server, s3_server
from layer_testing.scripted_store import scripted_store
from tests.chaos.faults import Link

FIRST_NS = 1_780_000_000_000_000_000
APPENDERS_COUNT = 3
BATCH_EVENTS = 25
ROUNDS_COUNT = 2
PACE_S = 0.02
"""Between two steps of whoever sends, so that processes can start beside them."""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@dataclass(slots=True, kw_only=True)
class World:
    """Everything that runs; see the module's text."""

    folder: Path
    bucket: dict[str, str]
    link: Link
    rng: random.Random
    appended: set[int] = field(default_factory=set)
    """Moments of the events that the service has acknowledged to appenders."""
    sent: set[int] = field(default_factory=set)
    searched: set[int] = field(default_factory=set)
    """Numbers of the searches that the gateway which lives has answered."""
    searched_elsewhere: set[int] = field(default_factory=set)
    """Numbers of those that the other gateway was asked."""
    history: ServiceProcess | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def address(self) -> str:
        return f"unix:{self.folder / 'h.sock'}"

    async def start(self, data: str = "history") -> None:
        self.history = await self.stack.enter_async_context(
            running(
                "layer_history",
                LAYER_HISTORY_GRPC_ADDRESS=self.address,
                LAYER_HISTORY_DATA_DIRECTORY=str(self.folder / data),
                LAYER_HISTORY_FLUSH_INTERVAL_S="0.2",
                LAYER_HISTORY_MAINTENANCE_INTERVAL_S="1",
                **self.bucket,
            )
        )

    async def kill(self) -> None:
        assert self.history is not None
        await self.history.kill()

    @asynccontextmanager
    async def client(self, namespace: str) -> AsyncIterator[HistoryClient]:
        async with open_channel(self.address, retries=False) as channel:
            yield HistoryClient(channel, namespace)

    async def append_forever(self, number: int) -> None:
        """Send batches, each until it is acknowledged; clocks of appenders go back now and then."""
        moments = iter(range(FIRST_NS + number, FIRST_NS + 10**9, APPENDERS_COUNT))
        async with self.client("appended") as client:
            while True:
                batch = [next(moments) for _ in range(BATCH_EVENTS)]
                self.rng.shuffle(batch)
                self.sent.update(batch)
                await until_done(partial(client.append, *map(query, batch)))
                self.appended.update(batch)
                await asyncio.sleep(PACE_S)

    async def search_forever(self, edge: EdgeCaller, first: int, told: set[int]) -> None:
        number = first
        while True:
            headers = {"x-hevlayer-search-query": str(number)}
            with contextlib.suppress(ConnectionError, ValueError, TimeoutError, OSError):
                path = f"/v2/namespaces/{BOOKS}/query"
                answer = await edge("POST", path, {"vector": [1.0]}, headers)
                if answer.status == 200:
                    told.add(number)
            number += 1
            await asyncio.sleep(PACE_S)

    async def progress(self) -> None:
        """Wait until more has been acknowledged, and more searched."""
        before = len(self.appended), len(self.searched)

        async def has_grown() -> bool:
            grown = len(self.appended) - before[0], len(self.searched) - before[1]
            return grown[0] >= 10 * BATCH_EVENTS and grown[1] >= 10

        await eventually(has_grown)


async def until_done(act: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await act()
        except (LayerError, grpc.aio.AioRpcError):
            await asyncio.sleep(0.05)
        else:
            return


async def test_kills_and_outages_end_with_exactly_what_was_acknowledged(
    tmp_path: Path, s3: S3Server
) -> None:
    link = Link(lambda: s3.endpoint.removeprefix("http://"))
    await link.open()
    bucket = {
        "S3_BUCKET": s3.new_bucket(),
        "S3_ENDPOINT": f"http://{link.address}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    world = World(folder=tmp_path, bucket=bucket, link=link, rng=random.Random(7))  # noqa: S311
    async with world.stack, scripted_store() as store:
        world.stack.push_async_callback(link.close)
        store.namespace(BOOKS, rows=({"id": 1, "$dist": 0.5},), id="uint")
        await world.start()
        async with AsyncExitStack() as traffic:
            await _run(world, store.url, traffic)
        link.is_refusing = False
        await _settle(world)
        await world.kill()
        await world.start("an empty disk")
        await _judge(world)


async def _run(world: World, store_url: str, traffic: AsyncExitStack) -> None:
    gateways = [
        await traffic.enter_async_context(_gateway(world, store_url, name)) for name in ("a", "b")
    ]
    living, dying = (EdgeCaller(one.addresses["http"], key=KEY) for one in gateways)
    async with asyncio.TaskGroup() as group:  # one that fails ends the test at once
        tasks = [
            *(group.create_task(world.append_forever(n)) for n in range(APPENDERS_COUNT)),
            group.create_task(world.search_forever(living, 0, world.searched)),
            group.create_task(world.search_forever(dying, 10**6, world.searched_elsewhere)),
        ]
        await world.progress()
        for number in range(ROUNDS_COUNT):
            await _break(world, number)
            if number == 0:
                await gateways[1].kill()
        for task in tasks:
            task.cancel()
    await eventually(partial(_is_delivered, world.folder / "a"))


async def _is_delivered(spool: Path) -> bool:
    """Tell whether the history takes what a gateway has, so that its stop leaves nothing."""
    return not any(name.endswith(".batch") for name in os.listdir(spool))  # noqa: PTH208


async def _break(world: World, number: int) -> None:
    """Take the bucket away, kill the service in the middle of that, and once again after it."""
    world.link.is_refusing = True
    await world.link.cut()
    await world.progress()
    await world.kill()
    await world.start()
    await world.progress()
    world.link.is_refusing = False
    if number % 2:
        await world.progress()
    await asyncio.sleep(world.rng.random())  # a kill at any moment of shipping and merging
    await world.kill()
    await world.start()
    await world.progress()


def _gateway(world: World, store_url: str, name: str) -> Any:
    return gateway_over(
        store_url,
        LAYER_GATEWAY_HISTORY_ADDRESS=world.address,
        LAYER_GATEWAY_HISTORY_SPOOL_DIRECTORY=str(world.folder / name),
    )


async def _settle(world: World) -> None:
    """Wait until nothing is left to be shipped."""
    data = world.folder / "history"

    async def is_shipped() -> bool:
        return not any((data / "log").iterdir()) and not any((data / "bundles").iterdir())

    await eventually(is_shipped)


async def _judge(world: World) -> None:
    async with world.client("appended") as client:
        moments = await client.all_queries()
    assert moments == sorted(set(moments), reverse=True)
    assert world.appended <= set(moments) <= world.sent
    async with world.client(BOOKS) as client:
        texts = [int(one.raw_query) async for page in client.query_pages() for one in page.queries]
    assert len(texts) == len(set(texts))
    living = [text for text in texts if text < 10**6]
    assert set(living) >= world.searched
    assert living == sorted(living, reverse=True)
