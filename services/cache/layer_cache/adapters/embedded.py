"""Rows in an embedded RocksDB with FIFO compaction.

FIFO keeps files in the order they were written and deletes the oldest when their total exceeds
the bound. A delete is younger than what it deletes, so eviction can never bring an entry back.
The total is checked per file, hence many small files; misses stay cheap by Bloom filters.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import structlog
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompactionStyle,
    DBCompressionType,
    FifoCompactOptions,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from layer_cache.adapters.tables import Tables
from layer_cache.domain.rows import Entry, RowKey, namespace_prefix
from layer_cache.ports import StoreFigures
from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)

DISK_BYTES_MIN: Final = 16 * 1024 * 1024
WRITE_BUFFERS_MAX: Final = 4
WRITE_BUFFER_FRACTION: Final = 32
WRITE_BUFFER_BYTES_MAX: Final = 64 * 1024 * 1024
BLOCK_CACHE_BYTES: Final = 64 * 1024 * 1024
BLOOM_BITS_PER_KEY: Final = 10
LOG_FILES_MAX: Final = 2
LOG_FILE_BYTES_MAX: Final = 1024 * 1024
UNERASED_KEYS_MAX: Final = 100_000
"""Deletes that wait for a working disk; beyond it the store answers nothing until it works."""

_HEADER: Final = struct.Struct(">QQI")  # era, written_ms, bytes of the body


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
        self._write_buffer_bytes = min(
            disk_bytes_max // WRITE_BUFFER_FRACTION, WRITE_BUFFER_BYTES_MAX
        )
        self._ttl_ms = int(ttl_s * 1000)
        self._now_ms = now_ms
        self._distrust = distrust
        self._unerased: set[RowKey] = set()
        self._is_blind = False
        self._is_closed = False
        self._last_error = ""
        self._refused_count = 0
        self._tables = Tables()
        # A put that would have to wait for a flush is refused instead: waiting holds up everyone.
        # Nor is it logged, which would cost more than all the rest of it: if the process is killed,
        # the last puts are lost, and no delete is.
        options: Any = WriteOptions()  # its stub takes the second of these for a method
        options.no_slowdown = True
        options.disable_wal = True
        self._put_options: WriteOptions = options
        self._rows = self._open()

    async def get(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        return self._entries(self._values(keys))

    async def put(self, entries: Sequence[tuple[RowKey, Entry]]) -> int:
        if not entries:
            return 0
        if self._last_error:
            self._refused_count += len(entries)
            return 0
        batch = WriteBatch(raw_mode=True)
        for key, entry in entries:
            batch.put(key, _encode(entry))
        try:
            self._rows.write(batch, self._put_options)
        except Exception as error:  # noqa: BLE001 -- the driver raises nothing narrower
            self._refused_count += len(entries)
            if not _is_stall(error):
                self._fail(error)
            return 0
        return len(entries)

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
        try:
            self._rows.write(batch)
        except Exception as error:  # noqa: BLE001 -- the driver raises nothing narrower
            self._unerased.update(keys)
            self._is_blind = len(self._unerased) > UNERASED_KEYS_MAX
            self._fail(error)
            self._distrust(f"rows: {error}")

    async def scan(
        self, namespace: Namespace, *, after: RowKey | None, count_max: int
    ) -> list[tuple[RowKey, Entry]]:
        if self._is_blind:
            return []
        try:
            return self._scan(namespace, after, count_max)
        except Exception as error:
            self._give_up(error)
            raise UnavailableError("STORE_DOWN", "The cache cannot read its entries.") from error

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
            disk_bytes=sum(map(_size, self._path.iterdir())),
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
        if not self._last_error or _free_bytes(self._path) < self._room_bytes:
            return
        self._close_rows()
        self._tables.lose_all()  # what was not written to a table may be gone
        try:
            if self._is_blind:
                shutil.rmtree(self._path)
            self._rows = self._open()
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

    def _close_rows(self) -> None:
        """Close the database, which it also does when it complains about an earlier failure."""
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

    def _entries(self, values: Sequence[bytes | None]) -> list[Entry | None]:
        oldest_ms = self._now_ms() - self._ttl_ms
        return [_decode(value, oldest_ms) for value in values]

    def _scan(
        self, namespace: Namespace, after: RowKey | None, count_max: int
    ) -> list[tuple[RowKey, Entry]]:
        prefix = namespace_prefix(namespace)
        within = ReadOptions()
        within.set_iterate_upper_bound(prefix[:-1] + b"\1")
        start = prefix if after is None else after + b"\0"
        while True:
            items = cast(
                "Iterator[tuple[RowKey, bytes]]", self._rows.items(from_key=start, read_opt=within)
            )
            rows = list(islice(items, count_max))
            if (page := self._page(rows)) or len(rows) < count_max:
                return page
            start = rows[-1][0] + b"\0"

    def _page(self, rows: Sequence[tuple[RowKey, bytes]]) -> list[tuple[RowKey, Entry]]:
        """Return the entries of a scan; a call for each would take as long as all the rest."""
        oldest_ms = self._now_ms() - self._ttl_ms
        unpack, head_bytes = _HEADER.unpack_from, _HEADER.size
        page = [
            (key, Entry(era, written_ms, value[head_bytes : head_bytes + body_bytes], b""))
            for key, value in rows
            for era, written_ms, body_bytes in (unpack(value),)
            if written_ms > oldest_ms
        ]
        if self._unerased:
            return [row for row in page if row[0] not in self._unerased]
        return page

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
        return 2 * WRITE_BUFFERS_MAX * self._write_buffer_bytes

    def _open(self) -> Rdict:
        try:
            return Rdict(str(self._path), self._options())
        except Exception as error:  # the driver raises nothing narrower
            raise OSError(f"rows: {error}") from error

    def _options(self) -> Options:
        options = Options(raw_mode=True)
        options.create_if_missing(create_if_missing=True)
        options.set_compaction_style(DBCompactionStyle.fifo())
        fifo = FifoCompactOptions()
        # The write-ahead log of the buffers not flushed yet counts as well.
        fifo.max_table_files_size = (
            self._disk_bytes_max - WRITE_BUFFERS_MAX * self._write_buffer_bytes
        )
        options.set_fifo_compaction_options(fifo)
        options.set_num_levels(1)
        options.set_write_buffer_size(self._write_buffer_bytes)
        options.set_max_write_buffer_number(WRITE_BUFFERS_MAX)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_max_open_files(-1)
        options.set_keep_log_file_num(LOG_FILES_MAX)
        options.set_max_log_file_size(LOG_FILE_BYTES_MAX)
        table = BlockBasedOptions()
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, block_based=False)
        table.set_block_cache(Cache(BLOCK_CACHE_BYTES))
        options.set_block_based_table_factory(table)
        return options

    def _give_up(self, error: Exception) -> None:
        """Answer nothing any more, since entries cannot be read; recovery begins from nothing."""
        self._is_blind = True
        self._fail(error)
        self._distrust(f"rows: {error}")

    def _fail(self, error: Exception) -> None:
        if not self._last_error:
            log.error("store_failed", error=str(error))
        self._last_error = str(error)


def _encode(entry: Entry) -> bytes:
    era, written_ms, body, vectors = entry
    header = _HEADER.pack(era, written_ms, len(body))
    return b"".join((header, body, vectors)) if vectors else header + body


def _decode(value: Any, oldest_ms: int) -> Entry | None:
    if value is None:
        return None
    era, written_ms, body_bytes = _HEADER.unpack_from(value)
    if written_ms <= oldest_ms:
        return None
    body_end = _HEADER.size + body_bytes
    return Entry(era, written_ms, value[_HEADER.size : body_end], value[body_end:])


def _is_stall(error: Exception) -> bool:
    """Tell whether a write was refused because it would have had to wait for a flush."""
    return "incomplete" in str(error).lower()


def _size(file: Path) -> int:
    """Return the bytes of a file, or none: it may just have been compacted away."""
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def _free_bytes(path: Path) -> int:
    figures = os.statvfs(path)
    return figures.f_bavail * figures.f_frsize
