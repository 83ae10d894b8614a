"""How a call with many rows lets others have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from layer_cache.domain.limits import CHUNK_ROWS

Item = TypeVar("Item")


async def in_turns(
    items: Sequence[Item], count_max: Callable[[], int] = lambda: CHUNK_ROWS
) -> AsyncIterator[Sequence[Item]]:
    """Yield ``items`` in chunks of up to ``count_max``; between two chunks other calls run.

    What a caller does with one chunk, without awaiting, is one step to everyone else.
    """
    start = 0
    while start < len(items):
        if start:
            await give_way()
        chunk = items[start : start + count_max()]
        yield chunk
        start += len(chunk)


async def give_way() -> None:
    """Let every call that is ready run once."""
    await asyncio.sleep(0)
