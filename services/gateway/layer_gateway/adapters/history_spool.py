"""Batches that wait for the history service: on disk within a budget, or in memory.

A spool outlives the process, not the machine: its files are not synced, since what is in them was
never promised to anyone. Each file holds one batch behind its CRC-32.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections import deque
from pathlib import Path
from typing import Final, Protocol

import structlog

from layer_kit.configuration import ConfigurationError
from layer_kit.directories import LOCK_NAME, own_directory, try_lock

log = structlog.get_logger(__name__)

SUFFIX: Final = ".batch"
WORKER_PREFIX: Final = "worker-"
_CHECKSUM_BYTES: Final = 4


def worker_folder(directory: Path, number: int) -> Path:
    """Return where a worker of a pool spools, below the folder of its gateway."""
    return directory / f"{WORKER_PREFIX}{number}"


def left_behind(directory: Path, workers_count: int) -> list[Path]:
    """Return the folders with batches of processes that a gateway no longer has.

    Args:
        workers_count: 0 for a gateway without a pool, which spools into ``directory`` itself.
    """
    own = {worker_folder(directory, number) for number in range(workers_count)} or {directory}
    found = {path.parent for path in directory.glob(f"*{SUFFIX}")}
    found |= {path.parent for path in directory.glob(f"{WORKER_PREFIX}*/*{SUFFIX}")}
    return sorted(found - own)


class Spool(Protocol):
    """Batches in the order in which they came."""

    @property
    def size_bytes(self) -> int: ...

    @property
    def is_empty(self) -> bool: ...

    def append(self, batch: bytes) -> bool:
        """Keep a batch; False when the budget, or the disk, has no room for it."""
        ...

    def oldest(self) -> bytes:
        """Return the oldest batch; empty when it cannot be read. There must be one."""
        ...

    def drop_oldest(self) -> None: ...

    def close(self) -> None: ...


class MemorySpool:
    """A spool that is lost with the process."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._batches: deque[bytes] = deque()
        self.size_bytes = 0

    @property
    def is_empty(self) -> bool:
        return not self._batches

    def append(self, batch: bytes) -> bool:
        if self.size_bytes + len(batch) > self._bytes_max:
            return False
        self._batches.append(batch)
        self.size_bytes += len(batch)
        return True

    def oldest(self) -> bytes:
        return self._batches[0]

    def drop_oldest(self) -> None:
        self.size_bytes -= len(self._batches.popleft())

    def close(self) -> None:
        pass


class DirectorySpool:
    """A spool in a directory of its own, which is created."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        """Take over what an earlier process left.

        Raises:
            ConfigurationError: When the directory cannot be written, or another process has it.
        """
        self._directory = directory
        self._bytes_max = bytes_max
        self._lock_file = own_directory(directory, called="history spool")
        try:
            found = sorted(directory.glob(f"*{SUFFIX}"))
            self._files = deque((int(path.stem), path.stat().st_size) for path in found)
        except (OSError, ValueError) as error:
            self._lock_file.close()
            raise ConfigurationError(f"history spool {directory} is unusable: {error}") from error
        self.size_bytes = sum(size for _, size in self._files)

    def adopt(self, left: Path) -> None:
        """Take over the batches of a folder that no process has any more, behind the own ones.

        They were within a budget once, so they are not held to it again. What cannot be moved
        stays for the next start.
        """
        with contextlib.suppress(OSError), (left / LOCK_NAME).open("ab") as lock_file:
            if not try_lock(lock_file):
                return
            for path in sorted(left.glob(f"*{SUFFIX}")):
                size_bytes, number = path.stat().st_size, self._next_number
                path.replace(self._path(number))
                self._files.append((number, size_bytes))
                self.size_bytes += size_bytes

    @property
    def is_empty(self) -> bool:
        return not self._files

    def append(self, batch: bytes) -> bool:
        body = zlib.crc32(batch).to_bytes(_CHECKSUM_BYTES, "little") + batch
        if self.size_bytes + len(body) > self._bytes_max:
            return False
        number = self._next_number
        path = self._path(number)
        try:
            with path.with_suffix(".new").open("wb") as file:
                file.write(body)
            path.with_suffix(".new").replace(path)
        except OSError as error:
            log.warning("history_spool_failed", cause=os.strerror(error.errno or 0))
            return False
        self._files.append((number, len(body)))
        self.size_bytes += len(body)
        return True

    def oldest(self) -> bytes:
        path = self._path(self._files[0][0])
        try:
            body = path.read_bytes()
        except OSError:
            body = b""
        checksum, batch = body[:_CHECKSUM_BYTES], body[_CHECKSUM_BYTES:]
        if zlib.crc32(batch).to_bytes(_CHECKSUM_BYTES, "little") == checksum:
            return batch
        log.warning("history_spool_damaged", file=path.name)
        return b""

    def drop_oldest(self) -> None:
        number, size_bytes = self._files.popleft()
        self._path(number).unlink(missing_ok=True)
        self.size_bytes -= size_bytes

    def close(self) -> None:
        """Let another process have the directory."""
        self._lock_file.close()

    @property
    def _next_number(self) -> int:
        return self._files[-1][0] + 1 if self._files else 1

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:012d}{SUFFIX}"
