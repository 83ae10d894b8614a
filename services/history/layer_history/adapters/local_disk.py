"""The local disk: the log, the bundles, and what a start makes of what it finds.

File operations run on two threads: one for the log, so that its records keep their order, and one
for everything else. After a failed write or sync the log goes on in a new file, since the kernel
may have dropped the pages that it could not write.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Literal, TypeVar

import structlog

from layer_history.adapters.bundle_files import SUFFIX as BUNDLE_SUFFIX
from layer_history.adapters.bundle_files import DamagedError, read_bundle, write_bundle
from layer_history.adapters.damaged_files import DamagedFiles
from layer_history.adapters.directory import DataDirectory
from layer_history.adapters.log_files import LogFile, LogReader
from layer_history.domain.blocks import Segment
from layer_history.ports import Bundle
from layer_kit.directories import sync_folder
from layer_kit.errors import UnavailableError

log = structlog.get_logger(__name__)

LOG_SUFFIX: Final = ".log"
READ_THREADS: Final = 2
Damage = Literal["log", "bundle", "segment"]
Build = Callable[[str, Iterator[bytes]], list[Segment]]
"""Makes the segments of a log file, from its number and its records."""

T = TypeVar("T")


class LocalDisk:
    """A :class:`~layer_history.ports.Disk` in a data directory."""

    def __init__(
        self,
        directory: DataDirectory,
        *,
        damaged: DamagedFiles,
        now_ns: Callable[[], int],
        count_damage: Callable[[Damage], None],
    ) -> None:
        self._directory = directory
        self._damaged = damaged
        self._now_ns = now_ns
        self._count_damage = count_damage
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="bundles")
        self._number = 0
        self._file: LogFile | None = None
        self._log_bytes: dict[str, int] = {}
        self._bundle_bytes: dict[str, int] = {}

    @property
    def used_bytes(self) -> int:
        return sum(self._log_bytes.values()) + sum(self._bundle_bytes.values())

    def recover(self, build: Build) -> list[Bundle]:
        """Return the bundles of an earlier process, those included that its log still lacked.

        Raises:
            OSError: When the directory cannot be read or written.
        """
        bundles = {bundle.number: bundle for bundle in self._found_bundles()}
        for path in sorted(self._directory.logs.glob(f"*{LOG_SUFFIX}")):
            number = path.name.removesuffix(LOG_SUFFIX)
            if number not in bundles:
                reader = LogReader(path)
                segments = build(number, iter(reader))
                if segments:
                    bundles[number] = self._write_bundle(number, segments)
                if reader.damages_count:
                    self._put_aside(path, "log", reader.damages_count)
                    continue
            path.unlink()
        self._number = max((int(number, 16) for number in bundles), default=0)
        return [bundles[number] for number in sorted(bundles)]

    async def append(self, records: Sequence[bytes]) -> None:
        await self._run(self._writer, self._append, records)

    async def rotate(self) -> str:
        return await self._run(self._writer, self._rotate)

    async def seal(self, number: str, segments: Sequence[Segment]) -> Bundle:
        return await self._run(self._readers, self._seal, number, segments)

    async def read(self, bundle: Bundle, offset: int, length: int) -> bytes | None:
        return await self._run(self._readers, self._read, bundle.number, offset, length)

    async def remove(self, bundle: Bundle) -> None:
        await self._run(self._readers, self._remove, bundle.number)

    def close(self) -> None:
        """Finish what runs and let go of the files."""
        for threads in (self._writer, self._readers):
            threads.shutdown()
        if self._file is not None:
            self._file.close()

    def _append(self, records: Sequence[bytes]) -> None:
        file = self._current()
        try:
            file.append(records)
        except OSError:
            self._rotate()
            raise
        self._log_bytes[self._name] = file.size_bytes

    def _rotate(self) -> str:
        finished = self._name
        if self._file is not None:
            self._file.close()
            self._file = None
        return finished

    def _current(self) -> LogFile:
        if self._file is None:
            # Numbers are moments, so that they differ from those of files long gone.
            self._number = max(self._number + 1, self._now_ns())
            self._file = LogFile(self._directory.logs / f"{self._name}{LOG_SUFFIX}")
            sync_folder(self._directory.logs)
        return self._file

    @property
    def _name(self) -> str:
        return f"{self._number:016x}"

    def _seal(self, number: str, segments: Sequence[Segment]) -> Bundle:
        bundle = self._write_bundle(number, segments)
        # Files before it belong to it too: those that were given up after a failure.
        for done in [earlier for earlier in self._log_bytes if earlier <= number]:
            self._log_path(done).unlink(missing_ok=True)
            del self._log_bytes[done]
        return bundle

    def _write_bundle(self, number: str, segments: Sequence[Segment]) -> Bundle:
        bundle = write_bundle(self._bundle_path(number), segments)
        self._bundle_bytes[number] = bundle.size_bytes
        return bundle

    def _read(self, number: str, offset: int, length: int) -> bytes | None:
        try:
            with self._bundle_path(number).open("rb") as file:
                return os.pread(file.fileno(), length, offset)
        except FileNotFoundError:
            return None

    def _remove(self, number: str) -> None:
        self._bundle_path(number).unlink(missing_ok=True)
        self._bundle_bytes.pop(number, None)

    def _found_bundles(self) -> Iterator[Bundle]:
        for leftover in self._directory.bundles.glob("*.new"):
            leftover.unlink()
        for path in sorted(self._directory.bundles.glob(f"*{BUNDLE_SUFFIX}")):
            try:
                bundle, damaged_count = read_bundle(path)
            except DamagedError:
                self._put_aside(path, "bundle")
                continue
            for _ in range(damaged_count):
                self._count_damage("segment")
            self._bundle_bytes[bundle.number] = bundle.size_bytes
            yield bundle

    def _put_aside(self, path: Path, damage: Damage, count: int = 1) -> None:
        log.error("file_damaged", kind=damage, file=path.name, count=count)
        for _ in range(count):
            self._count_damage(damage)
        self._damaged.add(path)

    def _log_path(self, number: str) -> Path:
        return self._directory.logs / f"{number}{LOG_SUFFIX}"

    def _bundle_path(self, number: str) -> Path:
        return self._directory.bundles / f"{number}{BUNDLE_SUFFIX}"

    async def _run(
        self, threads: ThreadPoolExecutor, call: Callable[..., T], *arguments: object
    ) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(threads, call, *arguments)
        except OSError as error:
            raise UnavailableError(
                "LOG_FAILED",
                f"The local disk of the history failed: {error.strerror}.",
                retry_after_s=1,
                cause=error.strerror,
            ) from error
