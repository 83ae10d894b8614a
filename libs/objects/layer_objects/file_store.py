"""Objects in a folder: for one machine, for tests, and for any shared POSIX file system.

Layout under the root: ``objects/`` holds one file per object under its key; ``incoming/`` files
that are being written; ``locks/`` one lock file per shard of the keys. A body is written and synced
in ``incoming/`` and then appears under its key in one step, so readers never see half of it and a
killed writer leaves at most a file in ``incoming/``, which is removed an hour later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from layer_kit.configuration import ConfigurationError
from layer_kit.directories import sync_folder
from layer_kit.errors import InvalidRequestError, UnavailableError, UpstreamError
from layer_objects import keys
from layer_objects.conditions import object_changed, object_exists, object_not_found
from layer_objects.file_walk import walk
from layer_objects.port import (
    LIST_LIMIT_MAX,
    OBJECT_BYTES_MAX,
    Object,
    ObjectInfo,
    ObjectPage,
    iter_keys,
)
from layer_objects.threads import OperationThreads

THREADS_MAX: Final = 8
OPERATION_TIMEOUT_S: Final = 60.0
LOCK_SHARDS: Final = 64
LOCK_TIMEOUT_S: Final = 10.0
LOCK_POLL_S: Final = 0.002
PLACE_ATTEMPTS_MAX: Final = 20
"""A put starts again when a delete removes its empty folder; more often than this is no chance."""
ABANDONED_AFTER_S: Final = 3600.0


class FileObjectStore:
    """An :class:`~layer_objects.port.ObjectStore` in the folder ``root``, which is created."""

    def __init__(
        self,
        root: Path,
        *,
        registry: CollectorRegistry | None = None,
        new_name: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._objects = root / "objects"
        self._incoming = root / "incoming"
        self._locks = root / "locks"
        self._new_name = new_name
        try:
            for folder in (self._objects, self._incoming, self._locks):
                _make_folders(folder)
            self._remove_abandoned()
        except OSError as error:
            raise ConfigurationError(f"object store {root}: {error.strerror}") from error
        self._threads = OperationThreads(THREADS_MAX, OPERATION_TIMEOUT_S, registry)

    async def put(
        self,
        key: str,
        body: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        keys.check_key(key)
        keys.check_body(body)
        keys.check_conditions(if_match, if_absent=if_absent)
        return await self._threads.run(
            "put", self._put, key, body, if_match=if_match, if_absent=if_absent
        )

    async def get(self, key: str) -> Object | None:
        keys.check_key(key)
        return await self._threads.run("get", self._get, key)

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        keys.check_key(key)
        keys.check_range(start, length)
        return await self._threads.run("get_range", self._get_range, key, start, length)

    async def head(self, key: str) -> ObjectInfo | None:
        keys.check_key(key)
        return await self._threads.run("head", self._head, key)

    async def list(
        self, prefix: str = "", *, after: str = "", limit: int = LIST_LIMIT_MAX
    ) -> ObjectPage:
        keys.check_prefix(prefix)
        keys.check_after(after)
        keys.check_limit(limit)
        return await self._threads.run("list", self._list, prefix, after, limit)

    def iter_keys(self, prefix: str = "") -> AsyncIterator[str]:
        return iter_keys(self, prefix)

    async def delete(self, key: str) -> None:
        keys.check_key(key)
        await self._threads.run("delete", self._delete, key)

    async def delete_prefix(self, prefix: str) -> int:
        keys.check_prefix(prefix, may_be_empty=False)
        deleted_count = 0
        async for key in iter_keys(self, prefix):
            await self._threads.run("delete", self._delete, key)
            deleted_count += 1
        return deleted_count

    async def aclose(self) -> None:
        self._threads.close()

    def _put(self, key: str, body: bytes, *, if_match: str | None, if_absent: bool) -> ObjectInfo:
        target = self._objects / key
        with _store_errors(key):
            written = self._write_incoming(body)
            try:
                with self._locked(key):
                    if if_match is not None and self._etag(key) != if_match:
                        raise object_changed(key)
                    self._place(written, target, if_absent=if_absent)
                    return _info(key, target.stat())
            except FileExistsError as error:
                raise object_exists(key) from error
            finally:
                written.unlink(missing_ok=True)

    def _write_incoming(self, body: bytes) -> Path:
        path = self._incoming / self._new_name()
        with path.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        return path

    @staticmethod
    def _place(written: Path, target: Path, *, if_absent: bool) -> None:
        """Let ``written`` appear as ``target``, for good."""
        for attempt in range(1, PLACE_ATTEMPTS_MAX + 1):
            try:
                _make_folders(target.parent)
                if target.is_dir():
                    raise IsADirectoryError(target)
                if if_absent:
                    os.link(written, target)
                else:
                    written.replace(target)
                sync_folder(target.parent)
            except FileNotFoundError:
                if attempt == PLACE_ATTEMPTS_MAX:
                    raise
            else:
                return

    def _get(self, key: str) -> Object | None:
        with _store_errors(key):
            try:
                file = (self._objects / key).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
            with file:
                info = _info(key, os.fstat(file.fileno()))
                if info.size_bytes > OBJECT_BYTES_MAX:
                    raise keys.too_large(info.size_bytes)
                return Object(info=info, body=file.read())

    def _get_range(self, key: str, start: int, length: int) -> bytes:
        with _store_errors(key):
            try:
                file = (self._objects / key).open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise object_not_found(key) from error
            with file:
                if start >= os.fstat(file.fileno()).st_size:
                    raise keys.range_invalid(start)
                file.seek(start)
                return file.read(length)

    def _head(self, key: str) -> ObjectInfo | None:
        path = self._objects / key
        with _store_errors(key):
            try:
                status = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return None if path.is_dir() else _info(key, status)

    def _etag(self, key: str) -> str | None:
        info = self._head(key)
        return info.etag if info else None

    def _list(self, prefix: str, after: str, limit: int) -> ObjectPage:
        found: list[ObjectInfo] = []
        with _store_errors(prefix):
            for key in walk(self._objects, prefix, after):
                # A file may go between being seen and being looked at.
                if info := self._head(key):
                    if len(found) == limit:
                        return ObjectPage(objects=found, next_after=found[-1].key)
                    found.append(info)
        return ObjectPage(objects=found, next_after=None)

    def _delete(self, key: str) -> None:
        path = self._objects / key
        with _store_errors(key), self._locked(key):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return
            for folder in path.parents:
                # Another delete may have removed the folder, which then only its parent tells.
                with contextlib.suppress(FileNotFoundError):
                    sync_folder(folder)
                if folder == self._objects or not _is_removed_or_gone(folder):
                    return

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Exclude every other change of ``key``, by this process or another."""
        shard = zlib.crc32(key.encode()) % LOCK_SHARDS
        give_up_s = time.monotonic() + LOCK_TIMEOUT_S
        with (self._locks / f"{shard:02x}").open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= give_up_s:
                        raise UnavailableError(
                            "OBJECT_STORE_LOCKED",
                            f"Another process holds the lock of {key!r}; try again later.",
                            key=key,
                        ) from error
                    time.sleep(LOCK_POLL_S)
            yield  # Closing the file releases the lock, and so does the death of the process.

    def _remove_abandoned(self) -> None:
        newest_s = time.time() - ABANDONED_AFTER_S
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < newest_s:
                    path.unlink()


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    # Each write makes a new file, so these three together never come back.
    etag = f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}"
    return ObjectInfo(
        key=key,
        etag=etag,
        size_bytes=status.st_size,
        modified_ms=status.st_mtime_ns // 1_000_000,
    )


def _make_folders(path: Path) -> None:
    """Create ``path`` and what is missing above it so that it outlasts a crash."""
    if path.is_dir():
        return
    _make_folders(path.parent)
    try:
        path.mkdir()
    except FileExistsError:
        if path.is_file():
            raise NotADirectoryError(path) from None
    sync_folder(path.parent)


def _is_removed_or_gone(folder: Path) -> bool:
    """Remove ``folder`` if it is empty."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _store_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (NotADirectoryError, IsADirectoryError) as error:
        raise InvalidRequestError(
            "OBJECT_KEY_INVALID",
            f"{key!r} is the folder of other objects, or has an object as its folder.",
            key=key,
        ) from error
    except OSError as error:
        raise UpstreamError(
            "OBJECT_STORE_FAILED",
            f"The file system failed on {key!r}: {error.strerror}.",
            key=key,
            cause=error.strerror,
        ) from error
