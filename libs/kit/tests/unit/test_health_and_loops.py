from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from layer_kit.health import Health
from layer_kit.loops import BACKOFF_S_MAX, Loops, background_loops


class HeldClock:
    """A sleep that ends when the test says so, and remembers how long it should have taken."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[float] = asyncio.Queue()
        self._woken: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(self, seconds: float) -> None:
        self._asked.put_nowait(seconds)
        await self._woken.get()

    async def next_pause_s(self) -> float:
        """Wait until someone sleeps; return for how long, and wake them."""
        seconds = await self._asked.get()
        self._woken.put_nowait(None)
        return seconds


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def loops(clock: HeldClock, registry: CollectorRegistry) -> AsyncIterator[Loops]:
    loops = Loops(registry, sleep=clock.sleep)
    yield loops
    await loops.stop()


def failing(*, turns: int) -> Callable[[], Awaitable[None]]:
    """Return a turn that fails the first ``turns`` times."""
    left = [turns]

    async def turn() -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError("no luck")

    return turn


async def test_a_loop_turns_at_once_and_then_after_each_interval(
    loops: Loops, clock: HeldClock
) -> None:
    turned: list[int] = []

    async def turn() -> None:
        turned.append(len(turned))

    loops.every(5.0, turn, name="sweep")
    assert [await clock.next_pause_s() for _ in range(3)] == [5.0, 5.0, 5.0]
    assert turned == [0, 1, 2]


async def test_a_failing_loop_goes_on_with_growing_pauses_up_to_a_limit(
    loops: Loops, clock: HeldClock
) -> None:
    loops.every(5.0, failing(turns=10), name="sweep")
    pauses = [await clock.next_pause_s() for _ in range(5)]
    assert pauses == [10.0, 20.0, BACKOFF_S_MAX, BACKOFF_S_MAX, BACKOFF_S_MAX]


async def test_a_loop_that_recovers_turns_at_its_interval_again(
    loops: Loops, clock: HeldClock
) -> None:
    loops.every(5.0, failing(turns=2), name="sweep")
    assert [await clock.next_pause_s() for _ in range(4)] == [10.0, 20.0, 5.0, 5.0]


async def test_a_slow_loop_never_pauses_for_less_than_its_interval(
    loops: Loops, clock: HeldClock
) -> None:
    loops.every(60.0, failing(turns=3), name="sweep")
    assert [await clock.next_pause_s() for _ in range(3)] == [60.0, 60.0, 60.0]


async def test_failing_turns_are_counted_by_loop(
    loops: Loops, clock: HeldClock, registry: CollectorRegistry
) -> None:
    loops.every(1.0, failing(turns=2), name="sweep")
    for _ in range(4):
        await clock.next_pause_s()
    assert registry.get_sample_value("layer_loop_failures_total", {"loop": "sweep"}) == 2


async def test_loops_end_with_their_block(registry: CollectorRegistry) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def turn() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with background_loops(registry) as loops:
        loops.every(1.0, turn, name="sweep")
        await started.wait()
    assert ended.is_set()


def test_a_process_without_components_is_ready() -> None:
    assert Health().is_ready


def test_a_process_is_ready_when_every_component_is() -> None:
    health = Health()
    health.require("store")
    health.require("cache")
    health.ready("store")
    assert not health.is_ready
    assert health.components == {"store": "ok", "cache": "starting"}
    health.ready("cache")
    assert health.is_ready


def test_an_unfit_component_says_why() -> None:
    health = Health()
    health.ready("store")
    health.unready("store", "disk full")
    assert not health.is_ready
    assert health.components == {"store": "disk full"}


def test_draining_is_for_good() -> None:
    health = Health()
    health.ready("store")
    health.drain()
    health.ready("store")
    assert health.is_draining
    assert not health.is_ready


def test_listeners_hear_changes_of_the_whole_alone() -> None:
    health = Health()
    heard: list[bool] = []
    health.subscribe(lambda: heard.append(health.is_ready))
    health.require("store")
    health.require("cache")
    health.ready("store")
    health.ready("cache")
    health.ready("cache")
    health.drain()
    assert heard == [False, True, False]
