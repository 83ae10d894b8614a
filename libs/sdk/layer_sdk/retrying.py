"""Repeating calls that layer could not answer."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from layer_sdk.transport import Unavailable

log = logging.getLogger("layer_sdk")

T = TypeVar("T")

RETRY_S_MAX: Final = 30.0
ATTEMPTS_MAX: Final = 6


async def with_retries(call: Callable[[], Awaitable[T]]) -> T | None:
    """Call until it succeeds, some times; None when it never did: the leases will run out."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            return await call()
        except Unavailable as error:
            log.warning("trying again: %s", error)
            pause_s = max(0.5 * 2**attempt, error.retry_after_s or 0.0)
            await asyncio.sleep(min(pause_s, RETRY_S_MAX) * random.uniform(1.0, 1.3))  # noqa: S311
    log.error("given up; what is held is handed out again when its leases end")
    return None
