"""Long work gives others their turns, and comes to the same as if done at once."""

from __future__ import annotations

import asyncio
import time

import pytest

from layer_kit.turns import TURN_S, Steps, at_once, in_turns


def counted(count: int, done: list[int]) -> Steps[str]:
    for at in range(count):
        time.sleep(TURN_S)  # stands for work
        done.append(at)
        yield
    return "all"


async def test_others_have_their_turn_between_steps() -> None:
    done: list[int] = []
    seen: list[int] = []

    async def watch() -> None:
        while len(done) < 4:
            seen.append(len(done))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    assert await in_turns(counted(4, done)) == "all"
    await watching
    assert seen == [1, 2, 3]


async def test_an_error_of_a_step_is_that_of_the_work() -> None:
    def failing() -> Steps[None]:
        yield
        raise ValueError("the second step")

    with pytest.raises(ValueError, match="second"):
        await in_turns(failing())
    with pytest.raises(ValueError, match="second"):
        at_once(failing())
