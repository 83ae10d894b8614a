"""The row stores there are, each made by one function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from layer_cache.adapters.embedded import DISK_BYTES_MIN, EmbeddedStore
from layer_cache.adapters.memory import MemoryStore
from layer_cache.ports import RowStore

TTL_S = 60.0


class Stores:
    """Makes stores of one kind, all over the same place, with a clock that tests move."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        self.path = path
        self.now_ms = 1_000_000_000
        self.bytes_max = DISK_BYTES_MIN
        self.distrusted: list[str] = []
        self._opened: list[RowStore] = []

    async def open(self) -> RowStore:
        store = self._make()
        self._opened.append(store)
        return store

    async def reopen(self, store: RowStore) -> RowStore:
        """Stop a store and start it again."""
        await store.close()
        self._opened.remove(store)
        return await self.open()

    async def close(self) -> None:
        while self._opened:
            await self._opened.pop().close()

    def _make(self) -> RowStore:
        if self.kind == "memory":
            return MemoryStore(bytes_max=self.bytes_max, ttl_s=TTL_S, now_ms=lambda: self.now_ms)
        return EmbeddedStore(
            self.path,
            disk_bytes_max=self.bytes_max,
            ttl_s=TTL_S,
            now_ms=lambda: self.now_ms,
            distrust=self.distrusted.append,
        )


@pytest.fixture(params=["embedded", "memory"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    made = Stores(request.param, tmp_path / "rows")
    yield made
    await made.close()


@pytest.fixture
def make_stores(tmp_path: Path) -> Callable[[str], Stores]:
    return lambda kind: Stores(kind, tmp_path / "rows")
