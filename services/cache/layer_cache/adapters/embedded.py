"""Rows in an embedded RocksDB with FIFO compaction.

FIFO keeps files in the order they were written and deletes the oldest when their total exceeds
the bound. A delete is younger than what it deletes, so eviction can never bring an entry back.
The total is checked per file, hence many small files; misses stay cheap by Bloom filters.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from operator import add
from pathlib import Path
from typing import Final, cast

import structlog
from rocksdict import WriteBatch

from layer_cache.adapters.passages import Passages
from layer_cache.adapters.rocksdb import (
    BATCH_BYTES,
    WRITE_BUFFERS_MAX,
    file_bytes,
    free_bytes,
    is_stall,
    open_rows,
    put_options,
    write_buffer_bytes,
)
from layer_cache.adapters.tables import Tables
from layer_cache.adapters.values import (
    alive_of,
    decode_all,
    encode_each,
    encode_new,
    find_all,
    has_big,
    sizes_of,
)
from layer_cache.domain.limits import BIG_ROWS_AT_ONCE, CHUNK_ROWS
from layer_cache.domain.rows import Entry, Hits, NewRows, RowKey, Rows
from layer_cache.ports import Page, Place, StoreFigures
from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)

DISK_BYTES_MIN: Final = 16 * 1024 * 1024
UNERASED_KEYS_MAX: Final = 100_000
"""Deletes that wait for a working disk; beyond it the store answers nothing until it works."""

_BIG_ROWS: Final = "big-rows"
"""The file that stands in the directory from when there were big rows: to be read a few at once."""


class EmbeddedStore:
    """A directory of entries, exclusively ours.

    When the disk fails, or is full, puts are refused and reads go on. A delete that cannot be
    written is kept in memory, where it hides the entry, and ``distrust`` has the directory thrown
    away at the next start.
    """

    def __init__(
        self,
        path: Path,
        *,
        disk_bytes_max: int,
        ttl_s: float,
        now_ms: EpochMilliseconds,
        distrust: Callable[[str], None],
    ) -> None:
        """Open or create the store at ``path``; a million entries take well under a second.

        Raises:
            OSError: When it is damaged or cannot be written.
        """
        self._path = path
        self._disk_bytes_max = disk_bytes_max
        self._ttl_ms = int(ttl_s * 1000)
        self._now_ms = now_ms
        self._distrust = distrust
        self._unerased: set[RowKey] = set()
        self._is_blind = False
        self._is_closed = False
        self._last_error = ""
        self._refused_count = 0
        self._tables = Tables()
        self._passages = Passages()
        self._put_options = put_options()
        self._open_rows()

    def rows_at_once(self) -> int:
        return BIG_ROWS_AT_ONCE if self._has_big_rows else CHUNK_ROWS

    async def get(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        return self._entries(self._values(keys))

    async def find(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits:
        return self._found(self._values(keys), era_min, with_vectors=with_vectors)

    def find_now(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits | None:
        if self._is_blind or self._unerased:
            return None
        try:
            values = cast("list[bytes | None]", self._rows.get(list(keys)))
        except Exception:  # noqa: BLE001 -- find meets it again, and does what is due
            return None
        return self._found(values, era_min, with_vectors=with_vectors)

    async def put(self, entries: Sequence[tuple[RowKey, Entry]]) -> int:
        return self._put([key for key, _ in entries], encode_each(entries), list(sizes_of(entries)))

    async def put_new(self, rows: NewRows, *, era: int, written_ms: int) -> int:
        sizes = list(map(add, map(len, rows.bodies), map(len, rows.vectors)))
        return self._put(rows.keys, encode_new(rows, era=era, written_ms=written_ms), sizes)

    async def take(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        values = self._values(keys)
        # Those over age go as well. If one stayed, and a crash lost what is put in its place, it
        # would be back should the clock be set back.
        await self.delete(
            [key for key, value in zip(keys, values, strict=True) if value is not None]
        )
        return self._entries(values)

    async def delete(self, keys: Sequence[RowKey]) -> None:
        if not keys or self._is_blind:
            return
        batch = WriteBatch(raw_mode=True)
        for key in keys:
            batch.delete(key)
        self._passages.written(keys)
        try:
            self._rows.write(batch)
        except Exception as error:  # noqa: BLE001 -- the driver raises nothing narrower
            self._unerased.update(keys)
            self._is_blind = len(self._unerased) > UNERASED_KEYS_MAX
            self._fail(error)
            self._distrust(f"rows: {error}")

    async def scan(
        self, namespace: Namespace, *, after: Place | None, count_max: int, era_min: int = 0
    ) -> Page:
        if self._is_blind:
            return Page(Rows([], []), None)
        try:
            keys, values, place = self._passages.step(self._rows, namespace, after, count_max)
        except Exception as error:
            self._give_up(error)
            raise UnavailableError("STORE_DOWN", "The cache cannot read its entries.") from error
        rows = alive_of(keys, values, oldest_ms=self._now_ms() - self._ttl_ms, era_min=era_min)
        if self._unerased:
            rows = rows.chosen(key not in self._unerased for key in rows.keys)
        return Page(rows, place)

    def mark(self) -> int:
        self._see_tables()
        return self._tables.newest

    def lost_through(self) -> int:
        self._see_tables()
        return self._tables.newest + 1 if self._is_blind else self._tables.lost_through

    def figures(self) -> StoreFigures:
        return StoreFigures(
            backend="embedded",
            entry_count=self._entry_count(),
            disk_bytes=sum(map(file_bytes, self._path.iterdir())),
            disk_bytes_max=self._disk_bytes_max,
            is_read_only=bool(self._last_error),
            last_error=self._last_error,
            refused_count=self._refused_count,
        )

    async def recover(self) -> None:
        """Open the store anew once there is room, and write the deletes that are due.

        RocksDB refuses every write after a failed one, until it is opened again. A blind store
        no longer knows what it should have deleted, so it starts again from nothing.
        """
        if not self._last_error or free_bytes(self._path) < self._room_bytes:
            return
        self._close_rows()
        self._tables.lose_all()  # what was not written to a table may be gone
        try:
            if self._is_blind:
                shutil.rmtree(self._path)
            self._open_rows()
        except OSError as error:
            self._is_blind = True
            self._last_error = str(error)
            return
        self._is_blind = False
        self._last_error = ""
        unerased, self._unerased = self._unerased, set()
        await self.delete(list(unerased))
        if not self._last_error:
            log.info("store_recovered", path=str(self._path))

    async def close(self) -> None:
        try:
            self._rows.flush()
            self._rows.flush_wal(sync=True)
            self._see_tables()
        except Exception as error:  # noqa: BLE001 -- the driver raises nothing narrower
            self._distrust(f"rows: {error}")
        self._is_closed = True
        self._close_rows()

    def _open_rows(self) -> None:
        self._rows = open_rows(self._path, disk_bytes_max=self._disk_bytes_max)
        self._has_big_rows = (self._path / _BIG_ROWS).exists()

    def _put(self, keys: Sequence[RowKey], values: Iterable[bytes], sizes: Sequence[int]) -> int:
        """Store values of rows that have these sizes, give or take a header."""
        if self._last_error or not keys:
            self._refused_count += len(keys)
            return 0
        at_once = len(keys) * BATCH_BYTES // (sum(sizes) + 1) + 1
        values, stored_count = iter(values), 0
        self._passages.written(keys)
        try:
            if not self._has_big_rows and has_big(sizes):
                (self._path / _BIG_ROWS).touch()
                self._has_big_rows = True
            for start in range(0, len(keys), at_once):
                some = keys[start : start + at_once]
                batch = WriteBatch(raw_mode=True)
                deque(map(batch.put, some, values), maxlen=0)  # for the effect of each
                self._rows.write(batch, self._put_options)
                stored_count += len(some)
        except Exception as error:  # noqa: BLE001 -- the driver raises nothing narrower
            self._refused_count += len(keys) - stored_count
            if not is_stall(error):
                self._fail(error)
        return stored_count

    def _close_rows(self) -> None:
        """Close the database, which it also does when it complains about an earlier failure."""
        self._passages.close()
        try:
            self._rows.close()
        except Exception as error:  # noqa: BLE001 -- the driver raises nothing narrower
            log.warning("store_closed_with_error", error=str(error))

    def _values(self, keys: Sequence[RowKey]) -> list[bytes | None]:
        """Return what is stored, whatever its age; None for what is absent or cannot be read."""
        if self._is_blind:
            return [None] * len(keys)
        try:
            # One read of many rows costs a third less than as many reads.
            values = cast("list[bytes | None]", self._rows.get(list(keys)))
        except Exception as error:  # noqa: BLE001 -- the driver raises nothing narrower
            self._give_up(error)
            return [None] * len(keys)
        if self._unerased:
            return [
                None if key in self._unerased else value
                for key, value in zip(keys, values, strict=True)
            ]
        return values

    def _found(self, values: Sequence[bytes | None], era_min: int, *, with_vectors: bool) -> Hits:
        oldest_ms = self._now_ms() - self._ttl_ms
        return find_all(values, oldest_ms=oldest_ms, era_min=era_min, with_vectors=with_vectors)

    def _entries(self, values: Sequence[bytes | None]) -> list[Entry | None]:
        return decode_all(values, self._now_ms() - self._ttl_ms)

    def _see_tables(self) -> None:
        """Ask the database, since it removes the file of a table that is gone later."""
        if not (self._is_blind or self._is_closed):
            self._tables.see(table["name"] for table in self._rows.live_files())

    def _entry_count(self) -> int:
        if self._is_blind:
            return 0
        return self._rows.property_int_value("rocksdb.estimate-num-keys") or 0

    @property
    def _room_bytes(self) -> int:
        return 2 * WRITE_BUFFERS_MAX * write_buffer_bytes(self._disk_bytes_max)

    def _give_up(self, error: Exception) -> None:
        """Answer nothing any more, since entries cannot be read; recovery begins from nothing."""
        self._is_blind = True
        self._fail(error)
        self._distrust(f"rows: {error}")

    def _fail(self, error: Exception) -> None:
        if not self._last_error:
            log.error("store_failed", error=str(error))
        self._last_error = str(error)
