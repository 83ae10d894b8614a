"""How a call with many rows lets others have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from layer_cache.domain.limits import CHUNK_ROWS

Item = TypeVar("Item")


async def in_turns(items: Sequence[Item]) -> AsyncIterator[Sequence[Item]]:
    """Yield ``items`` in chunks; between two chunks other calls run.

    What a caller does with one chunk, without awaiting, is one step to everyone else.
    """
    for start in range(0, len(items), CHUNK_ROWS):
        if start:
            await give_way()
        yield items[start : start + CHUNK_ROWS]


async def give_way() -> None:
    """Let every call that is ready run once."""
    await asyncio.sleep(0)
