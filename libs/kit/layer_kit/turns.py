"""Long work on the loop, done in turns with everybody else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import Final, TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work that says, by a yield, where it may be left for a while; its result is what it returns."""

TURN_S: Final = 0.002
"""How long one piece of work holds the loop, but for the rest of its step."""


def at_once(steps: Steps[T]) -> T:
    """Do all ``steps`` and return their result."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        result: T = end.value
    return result


async def in_turns(steps: Steps[T]) -> T:
    """Do ``steps`` and return their result; whenever they took a turn, others have theirs."""
    turn_ends_s = time.perf_counter() + TURN_S
    try:
        while True:
            next(steps)
            if time.perf_counter() >= turn_ends_s:
                await asyncio.sleep(0)
                turn_ends_s = time.perf_counter() + TURN_S
    except StopIteration as end:
        result: T = end.value
    return result
