"""Rows in SQLite, for machines on which RocksDB does not run: slower, with the same promises.

Rows are numbered in the order in which they are put. Over the bound the lowest numbers go, so that
the oldest are evicted first, and an older version of a row never comes back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from layer_cache.adapters.values import has_big, sizes_of
from layer_cache.domain.limits import (
    BIG_ROWS_AT_ONCE,
    CHUNK_ROWS,
    SCAN_STEP_BYTES_MAX,
)
from layer_cache.domain.rows import Entry, Hits, NewRows, RowKey, Rows, hits_among, namespace_prefix
from layer_cache.ports import Page, Place, StoreFigures
from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)

EVICTED_ROWS_MIN: Final = 256
LOG_BYTES_MAX: Final = 1024 * 1024
"""The write-ahead log is brought in and cut above it."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, era BLOB NOT NULL,
    written_ms INTEGER NOT NULL, body BLOB NOT NULL, vectors BLOB NOT NULL
);
"""
_READ: Final = "SELECT era, written_ms, body, vectors FROM entry WHERE key = ? AND written_ms > ?"
_SCAN: Final = (
    "SELECT key, era, written_ms, body FROM entry WHERE key > ? AND key < ? ORDER BY key LIMIT ?"
)
_PUT: Final = (
    "INSERT OR REPLACE INTO entry (key, era, written_ms, body, vectors) VALUES (?, ?, ?, ?, ?)"
)
_ERA_BYTES: Final = 8


class SqliteStore:
    """A file of entries, exclusively ours. See ``EmbeddedStore`` for what a full disk does."""

    def __init__(
        self,
        path: Path,
        *,
        disk_bytes_max: int,
        ttl_s: float,
        now_ms: EpochMilliseconds,
        distrust: Callable[[str], None],
    ) -> None:
        """Open or create the file in the directory ``path``.

        Raises:
            OSError: When it is damaged or cannot be written.
        """
        self._path = path
        self._disk_bytes_max = disk_bytes_max
        self._ttl_ms = int(ttl_s * 1000)
        self._now_ms = now_ms
        self._distrust = distrust
        self._last_error = ""
        self._refused_count = 0
        self._lost_through = 0
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(
                path / "rows.sqlite", isolation_level=None, check_same_thread=False
            )
            self._rows.executescript(
                "PRAGMA auto_vacuum = NONE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                + _SCHEMA
            )
            (self._page_bytes,) = self._one("PRAGMA page_size")
            (highest,) = self._one("SELECT max(number) FROM entry")
            (self._has_big_rows,) = self._one("PRAGMA user_version")
        except sqlite3.Error as error:
            raise OSError(f"rows: {error}") from error
        self._put_number = highest or 0

    def rows_at_once(self) -> int:
        return BIG_ROWS_AT_ONCE if self._has_big_rows else CHUNK_ROWS

    async def get(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        try:
            return self._read(keys)
        except UnavailableError:
            return [None] * len(keys)

    def find_now(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits | None:
        return None  # a read may fail, which is told of there

    async def find(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits:
        return hits_among(await self.get(keys), era_min=era_min, with_vectors=with_vectors)

    async def put(self, entries: Sequence[tuple[RowKey, Entry]]) -> int:
        if not entries:
            return 0
        if self._last_error:
            self._refused_count += len(entries)
            return 0
        rows = [
            (
                key,
                entry.era.to_bytes(_ERA_BYTES, "big"),
                entry.written_ms,
                entry.body,
                entry.vectors,
            )
            for key, entry in entries
        ]
        try:
            if not self._has_big_rows and has_big(sizes_of(entries)):
                self._one("PRAGMA user_version = 1")  # kept, for a start to know
                self._has_big_rows = 1
            self._write(_PUT, rows)
            (self._put_number,) = self._one("SELECT max(number) FROM entry")
            self._keep_to_bound()
        except sqlite3.Error as error:
            self._refused_count += len(entries)
            self._fail(error)
            return 0
        return len(entries)

    async def put_new(self, rows: NewRows, *, era: int, written_ms: int) -> int:
        return await self.put(rows.entries(era=era, written_ms=written_ms))

    async def take(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        found = self._read(keys)
        await self.delete([key for key, one in zip(keys, found, strict=True) if one is not None])
        return found

    async def delete(self, keys: Sequence[RowKey]) -> None:
        try:
            self._write("DELETE FROM entry WHERE key = ?", [(key,) for key in keys])
        except sqlite3.Error as error:
            self._fail(error)
            self._distrust(f"rows: {error}")
            raise UnavailableError("STORE_DOWN", "The cache cannot remove its entries.") from error

    async def scan(
        self, namespace: Namespace, *, after: Place | None, count_max: int, era_min: int = 0
    ) -> Page:
        prefix = namespace_prefix(namespace)
        oldest_ms, oldest_era = self._now_ms() - self._ttl_ms, era_min.to_bytes(_ERA_BYTES, "big")
        bounds = (prefix if after is None else after.key, prefix[:-1] + b"\x01", count_max)
        keys: list[RowKey] = []
        bodies: list[bytes] = []
        last, room_bytes = None, SCAN_STEP_BYTES_MAX
        try:
            for key, era, written_ms, body in self._rows.execute(_SCAN, bounds):
                last, room_bytes = RowKey(key), room_bytes - len(body)
                if written_ms > oldest_ms and era >= oldest_era:
                    keys.append(last)
                    bodies.append(body)
                if room_bytes <= 0:
                    break
        except sqlite3.Error as error:
            self._fail(error)
            raise UnavailableError("STORE_DOWN", "The cache cannot read its entries.") from error
        return Page(Rows(keys, bodies), None if last is None else Place(last))

    def mark(self) -> int:
        return self._put_number

    def lost_through(self) -> int:
        return self._lost_through

    def figures(self) -> StoreFigures:
        lowest, highest = self._one("SELECT min(number), max(number) FROM entry")
        return StoreFigures(
            backend="sqlite",
            entry_count=0 if lowest is None else highest - lowest + 1,
            disk_bytes=sum(file.stat().st_size for file in self._path.iterdir()),
            disk_bytes_max=self._disk_bytes_max,
            is_read_only=bool(self._last_error),
            last_error=self._last_error,
            refused_count=self._refused_count,
        )

    async def recover(self) -> None:
        """Try whether the disk takes a write again."""
        if not self._last_error:
            return
        try:
            self._write("DELETE FROM entry WHERE key = ?", [(b"",)])
            self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            return
        self._last_error = ""
        log.info("store_recovered", path=str(self._path))

    async def close(self) -> None:
        try:
            self._one("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            self._distrust(f"rows: {error}")
        self._rows.close()

    def _read(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        oldest_ms = self._now_ms() - self._ttl_ms
        try:
            return [_entry(self._one(_READ, key, oldest_ms)) for key in keys]
        except sqlite3.Error as error:
            self._fail(error)
            self._distrust(f"rows: {error}")
            raise UnavailableError("STORE_DOWN", "The cache cannot read its entries.") from error

    def _keep_to_bound(self) -> None:
        """Evict the oldest rows until the file has room for a log, then keep the log short."""
        room_bytes = self._disk_bytes_max - 2 * LOG_BYTES_MAX
        while self._used_bytes() > room_bytes:
            last = self._one(
                "SELECT max(number) FROM (SELECT number FROM entry ORDER BY number LIMIT ?)",
                EVICTED_ROWS_MIN,
            )[0]
            if last is None:
                break
            self._write("DELETE FROM entry WHERE number <= ?", [(last,)])
            self._lost_through = max(self._lost_through, last)
        log_file = self._path / "rows.sqlite-wal"
        if log_file.exists() and log_file.stat().st_size > LOG_BYTES_MAX:
            self._one("PRAGMA wal_checkpoint(TRUNCATE)")

    def _used_bytes(self) -> int:
        (pages,) = self._one("PRAGMA page_count")
        (free,) = self._one("PRAGMA freelist_count")
        return int((pages - free) * self._page_bytes)

    def _one(self, statement: str, *values: object) -> Any:
        return self._rows.execute(statement, values).fetchone()

    def _write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            self._rows.executemany(statement, rows)
            self._rows.execute("COMMIT")
        except sqlite3.Error:
            if self._rows.in_transaction:
                self._rows.execute("ROLLBACK")
            raise

    def _fail(self, error: Exception) -> None:
        if not self._last_error:
            log.error("store_failed", error=str(error))
        self._last_error = str(error)


def _entry(row: Any) -> Entry | None:
    return None if row is None else Entry(int.from_bytes(row[0], "big"), *row[1:])
