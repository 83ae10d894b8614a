"""How RocksDB is set up for the rows of a cache."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Final

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompactionStyle,
    DBCompressionType,
    FifoCompactOptions,
    Options,
    Rdict,
    WriteOptions,
)

WRITE_BUFFERS_MAX: Final = 4
WRITE_BUFFER_FRACTION: Final = 32
WRITE_BUFFER_BYTES_MAX: Final = 64 * 1024 * 1024
BATCH_BYTES: Final = 256 * 1024
"""Put at once, give or take a row: a batch is copied on its way, and is to stay near until then."""
BLOCK_CACHE_BYTES: Final = 64 * 1024 * 1024
BLOOM_BITS_PER_KEY: Final = 10
LOG_FILES_MAX: Final = 2
LOG_FILE_BYTES_MAX: Final = 1024 * 1024


def write_buffer_bytes(disk_bytes_max: int) -> int:
    """Return how big each write buffer gets: small, since it is the grain of eviction."""
    return min(disk_bytes_max // WRITE_BUFFER_FRACTION, WRITE_BUFFER_BYTES_MAX)


def open_rows(path: Path, *, disk_bytes_max: int) -> Rdict:
    """Open or create the database.

    Raises:
        OSError: When it is damaged or cannot be written.
    """
    try:
        return Rdict(str(path), _options(disk_bytes_max))
    except Exception as error:  # the driver raises nothing narrower
        raise OSError(f"rows: {error}") from error


def put_options() -> WriteOptions:
    """Return how rows are put.

    A put that would have to wait for a flush is refused instead: waiting holds up everyone. Nor is
    it logged, which would cost more than all the rest of it: if the process is killed, the last
    puts are lost, and no delete is.
    """
    options: Any = WriteOptions()  # its stub takes the second of these for a method
    options.no_slowdown = True
    options.disable_wal = True
    found: WriteOptions = options
    return found


def is_stall(error: Exception) -> bool:
    """Tell whether a write was refused because it would have had to wait for a flush."""
    return "incomplete" in str(error).lower()


def _options(disk_bytes_max: int) -> Options:
    buffer_bytes = write_buffer_bytes(disk_bytes_max)
    options = Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    options.set_compaction_style(DBCompactionStyle.fifo())
    fifo = FifoCompactOptions()
    # The write-ahead log of the buffers not flushed yet counts as well.
    fifo.max_table_files_size = disk_bytes_max - WRITE_BUFFERS_MAX * buffer_bytes
    options.set_fifo_compaction_options(fifo)
    options.set_num_levels(1)
    options.set_write_buffer_size(buffer_bytes)
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


def file_bytes(file: Path) -> int:
    """Return the bytes of a file, or none: it may just have been compacted away."""
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size
    return 0


def free_bytes(path: Path) -> int:
    """Return what there is left on the disk of ``path``."""
    figures = os.statvfs(path)
    return figures.f_bavail * figures.f_frsize
