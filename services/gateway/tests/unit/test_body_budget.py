"""Large bodies wait for room in turn, and are refused when none comes."""

from __future__ import annotations

import asyncio

import pytest

from layer_gateway.http.budget import BodyBudget
from layer_kit.errors import UnavailableError


async def turns() -> None:
    """Let every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_body_waits_until_there_is_room_and_nobody_overtakes_it() -> None:
    budget = BodyBudget(100)
    await budget.take(60)
    large = asyncio.create_task(budget.take(50))
    await turns()
    small = asyncio.create_task(budget.take(10))
    await turns()
    assert not large.done()
    assert not small.done()
    budget.give(60)
    await asyncio.gather(large, small)
    assert budget.held_bytes == 60


async def test_a_body_larger_than_all_there_is_is_let_in_alone() -> None:
    budget = BodyBudget(100)
    await budget.take(10)
    huge = asyncio.create_task(budget.take(500))
    await turns()
    assert not huge.done()
    budget.give(10)
    await huge
    assert budget.held_bytes == 500


async def test_a_body_that_finds_no_room_in_time_is_told_to_come_again() -> None:
    budget = BodyBudget(100, wait_s_max=0.01)
    await budget.take(100)
    with pytest.raises(UnavailableError) as refused:
        await budget.take(1)
    assert (refused.value.reason, refused.value.retry_after_s) == ("BODIES_TOO_MANY", 2.0)
    budget.give(100)
    await budget.take(100)


async def test_a_caller_that_leaves_while_it_waits_leaves_no_hole() -> None:
    budget = BodyBudget(100)
    await budget.take(60)
    leaving = asyncio.create_task(budget.take(90))
    await turns()
    behind = asyncio.create_task(budget.take(20))
    await turns()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await behind
    assert budget.held_bytes == 80


async def test_a_caller_that_leaves_in_the_moment_of_its_turn_gives_it_back() -> None:
    budget = BodyBudget(100)
    await budget.take(60)
    leaving = asyncio.create_task(budget.take(90))
    await turns()
    budget.give(60)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert budget.held_bytes == 0


async def test_it_is_told_what_was_held_at_most_once_nothing_is() -> None:
    peaks: list[int] = []
    budget = BodyBudget(100, emptied=peaks.append)
    await budget.take(60)
    await budget.take(30)
    budget.give(60)
    assert peaks == []
    budget.give(30)
    await budget.take(10)
    budget.give(10)
    assert peaks == [90, 10]
