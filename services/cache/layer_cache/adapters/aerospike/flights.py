"""Writes on their way: calls on one key take effect in the order in which they were made."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from layer_cache.domain.rows import RowKey

Result = TypeVar("Result")


class Flights:
    """The last write of each key that has not been answered."""

    def __init__(self) -> None:
        self._last: dict[RowKey, asyncio.Task[Any]] = {}

    async def fly(self, keys: Sequence[RowKey], write: Coroutine[Any, Any, Result]) -> Result:
        """Run ``write`` behind those of the same keys that are on their way.

        It runs to its end even when the caller is cancelled: what was sent cannot be called back.
        """
        before = self._before(keys)
        task = asyncio.create_task(_after(before, write))
        self._last.update(dict.fromkeys(keys, task))
        task.add_done_callback(lambda done: self._land(keys, done))
        return await asyncio.shield(task)

    async def landed(self, keys: Iterable[RowKey] | None = None) -> None:
        """Wait for the writes of ``keys``, by default for all, that were begun before."""
        if self._last and (before := self._before(self._last if keys is None else keys)):
            await asyncio.wait(before)

    def _before(self, keys: Iterable[RowKey]) -> set[asyncio.Task[Any]]:
        return {self._last[key] for key in keys if key in self._last} if self._last else set()

    def _land(self, keys: Sequence[RowKey], task: asyncio.Task[Any]) -> None:
        for key in keys:
            if self._last.get(key) is task:
                del self._last[key]
        if not task.cancelled():
            task.exception()  # whoever called has it, unless it is gone


async def _after(before: set[asyncio.Task[Any]], write: Coroutine[Any, Any, Result]) -> Result:
    if before:
        await asyncio.wait(before)
    return await write
