"""Rows and ledger in memory, for machines without a disk to spare. Everything ends at a stop."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence

from layer_cache.domain.limits import CHUNK_ROWS
from layer_cache.domain.rows import Entry, Hits, NewRows, RowKey, Rows, hits_among, namespace_prefix
from layer_cache.ports import Ledger, Page, Place, StoreFigures, WarmRecord
from layer_kit.clock import EpochMilliseconds
from layer_kit.names import Namespace

ENTRY_OVERHEAD_BYTES = 300
"""What Python's objects add to an entry's own bytes, roughly."""


class MemoryStore:
    """A dictionary that forgets its oldest entries over a bound of bytes."""

    def __init__(self, *, bytes_max: int, ttl_s: float, now_ms: EpochMilliseconds) -> None:
        self._bytes_max = bytes_max
        self._ttl_ms = ttl_s * 1000
        self._now_ms = now_ms
        self._entries: dict[RowKey, Entry] = {}
        self._sorted: list[RowKey] = []
        self._bytes = 0
        self._put_count = 0
        self._put_numbers: dict[RowKey, int] = {}
        self._lost_through = 0

    def rows_at_once(self) -> int:
        return CHUNK_ROWS  # what is got is in memory anyway

    async def get(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        return self._get(keys)

    async def find(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits:
        return hits_among(await self.get(keys), era_min=era_min, with_vectors=with_vectors)

    def find_now(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits:
        return hits_among(self._get(keys), era_min=era_min, with_vectors=with_vectors)

    async def put(self, entries: Sequence[tuple[RowKey, Entry]]) -> int:
        for key, entry in entries:
            self._remove(key)
            self._entries[key] = entry
            self._put_count += 1
            self._put_numbers[key] = self._put_count
            insort(self._sorted, key)
            self._bytes += _size(key, entry)
        while self._bytes > self._bytes_max:
            oldest = next(iter(self._entries))
            self._lost_through = self._put_numbers[oldest]
            self._remove(oldest)
        return len(entries)

    async def put_new(self, rows: NewRows, *, era: int, written_ms: int) -> int:
        return await self.put(rows.entries(era=era, written_ms=written_ms))

    async def take(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        found = await self.get(keys)
        await self.delete(
            [key for key, entry in zip(keys, found, strict=True) if entry is not None]
        )
        return found

    async def delete(self, keys: Sequence[RowKey]) -> None:
        for key in keys:
            self._remove(key)

    async def scan(
        self, namespace: Namespace, *, after: Place | None, count_max: int, era_min: int = 0
    ) -> Page:
        prefix = namespace_prefix(namespace)
        oldest_ms = self._now_ms() - self._ttl_ms
        start = bisect_right(self._sorted, prefix if after is None else after.key)
        keys = [key for key in self._sorted[start : start + count_max] if key.startswith(prefix)]
        entries = [self._entries[key] for key in keys]
        rows = Rows(keys, [entry.body for entry in entries]).chosen(
            entry.written_ms > oldest_ms and entry.era >= era_min for entry in entries
        )
        return Page(rows, Place(keys[-1]) if keys else None)

    def mark(self) -> int:
        return self._put_count

    def lost_through(self) -> int:
        return self._lost_through

    def figures(self) -> StoreFigures:
        return StoreFigures(
            backend="memory",
            entry_count=len(self._entries),
            disk_bytes=self._bytes,
            disk_bytes_max=self._bytes_max,
            is_read_only=False,
            last_error="",
            refused_count=0,
        )

    async def recover(self) -> None:
        """Memory does not fail softly."""

    async def close(self) -> None:
        self._entries.clear()
        self._sorted.clear()
        self._put_numbers.clear()

    def _get(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        oldest_ms = self._now_ms() - self._ttl_ms
        found = [self._entries.get(key) for key in keys]
        return [entry if entry and entry.written_ms > oldest_ms else None for entry in found]

    def _remove(self, key: RowKey) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._bytes -= _size(key, entry)
            del self._put_numbers[key]
            del self._sorted[bisect_right(self._sorted, key) - 1]


class MemoryLedger:
    """The ledger of a process whose rows do not outlive it."""

    def __init__(self) -> None:
        self._floor = 0
        self._epochs: dict[Namespace, int] = {}
        self._member_ids: set[str] = set()
        self._warm: dict[Namespace, WarmRecord] = {}

    def load(self) -> Ledger:
        return Ledger(
            floor=self._floor,
            epochs=dict(self._epochs),
            member_ids=frozenset(self._member_ids),
            warm=dict(self._warm),
        )

    def vouch(self) -> None:
        """Nobody else can reach this memory."""

    async def record_epoch(self, namespace: Namespace, era: int) -> None:
        self._epochs[namespace] = era

    async def record_floor(self, era: int) -> None:
        self._floor = era
        self._epochs.clear()

    async def add_member(self, member_id: str) -> None:
        self._member_ids.add(member_id)

    async def remove_members(self, member_ids: Iterable[str]) -> None:
        self._member_ids.difference_update(member_ids)

    async def record_warm(self, namespace: Namespace, record: WarmRecord) -> None:
        self._warm[namespace] = record

    async def forget_warm(self, namespaces: Iterable[Namespace] | None = None) -> None:
        for namespace in list(self._warm if namespaces is None else namespaces):
            self._warm.pop(namespace, None)

    async def close(self) -> None:
        """There is nothing to let go of."""


def _size(key: RowKey, entry: Entry) -> int:
    return len(key) + len(entry.body) + len(entry.vectors) + ENTRY_OVERHEAD_BYTES
