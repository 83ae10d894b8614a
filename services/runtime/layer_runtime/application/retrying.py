"""Trying again what failed because the gateway was away or full."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from layer_kit.errors import UnavailableError

T = TypeVar("T")

ATTEMPTS_MAX: Final = 4
PAUSE_S_FIRST: Final = 0.2
PAUSE_S_MAX: Final = 5.0


async def with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """Call until it succeeds, a few times; pauses double, or are what the other side asked for.

    Raises:
        UnavailableError: That of the last call.
    """
    for attempt in range(1, ATTEMPTS_MAX):
        try:
            return await call()
        except UnavailableError as error:
            pause_s = max(PAUSE_S_FIRST * 2 ** (attempt - 1), error.retry_after_s or 0.0)
            await sleep(min(pause_s, PAUSE_S_MAX) * random.uniform(1.0, 1.5))  # noqa: S311 -- no secret
    return await call()
