"""The change log in one SQLite file: every commit is synced, and one commit serves all who wait.

A single thread owns the writing connection. While it syncs, further operations queue up, and the
next commit takes all of them: the more writers, the fewer syncs per write.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter

from layer_kit.configuration import ConfigurationError
from layer_kit.errors import PayloadTooLargeError, UnavailableError
from layer_vectorstore.adapters.change_codec import decode_change, encode_change
from layer_vectorstore.domain.changes import Change
from layer_vectorstore.ports import Stream

log = structlog.get_logger(__name__)

FILE_NAME: Final = "changes.sqlite3"
OPERATIONS_QUEUED_MAX: Final = 1024
OPERATIONS_PER_COMMIT_MAX: Final = 256
COMMIT_BYTES_MAX: Final = 64 << 20
CHANGE_BYTES_MAX: Final = 900_000_000
"""A little less than SQLite takes as one value."""

WAL_PAGES_MAX: Final = 4096
"""Pages of 16 KiB after which the write-ahead log is folded into the file: 64 MiB."""

FILE_VERSION: Final = 1

_SCHEMA: Final = f"""
PRAGMA user_version = {FILE_VERSION};
CREATE TABLE IF NOT EXISTS streams (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS changes (
    sequence INTEGER PRIMARY KEY, stream INTEGER NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS changes_by_stream ON changes (stream, sequence);
"""


@dataclass(frozen=True, slots=True)
class _Operation:
    stream: Stream
    run: Callable[[sqlite3.Connection], None]
    size_bytes: int
    done: Future[None]


class SqliteChangeLog:
    """Implements ``ports.ChangeLog``. Open it with :meth:`open`, end it with :meth:`close`."""

    def __init__(self, path: Path, registry: CollectorRegistry) -> None:
        self._path = path
        self._queue: queue.Queue[_Operation | None] = queue.Queue(OPERATIONS_QUEUED_MAX)
        self._thread = threading.Thread(target=self._write_until_closed, name="change-log")
        self._numbers_lock = threading.Lock()
        self._streams: list[Stream] = []
        self._last_number = 0
        self._commits = Counter(
            "layer_vectorstore_log_commits_total", "Synced commits.", registry=registry
        )
        self._appends = Counter(
            "layer_vectorstore_log_operations_total", "Operations committed.", registry=registry
        )
        self._failures = Counter(
            "layer_vectorstore_log_failures_total", "Commits that failed.", registry=registry
        )

    @classmethod
    def open(cls, directory: Path, registry: CollectorRegistry) -> SqliteChangeLog:
        """Open or make the file in ``directory`` and start the writing thread.

        Raises:
            ConfigurationError: When it cannot be read or written.
        """
        path = directory / FILE_NAME
        result = cls(path, registry)
        try:
            with closing(result._connect()) as connection, connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version > FILE_VERSION:
                    raise ConfigurationError(f"{path} was written by a newer release")
                connection.executescript(_SCHEMA)
                connection.execute(
                    "DELETE FROM streams WHERE number NOT IN (SELECT stream FROM changes)"
                )
                connection.execute(
                    "DELETE FROM changes WHERE stream NOT IN (SELECT number FROM streams)"
                )
                rows = connection.execute("SELECT number, name FROM streams").fetchall()
        except sqlite3.Error as error:
            raise ConfigurationError(f"cannot use {path}: {error}") from error
        result._streams = [Stream(number, name) for number, name in rows]
        result._last_number = max((stream.number for stream in result._streams), default=0)
        result._thread.start()
        return result

    def close(self) -> None:
        """Write what is queued and stop."""
        self._queue.put(None)
        self._thread.join()

    def streams(self) -> Sequence[Stream]:
        return list(self._streams)

    def create(self, name: str) -> Stream:
        with self._numbers_lock:
            self._last_number += 1
            return Stream(self._last_number, name)

    def append(self, stream: Stream, change: Change) -> Future[None]:
        payload = _encoded(change)

        def run(connection: sqlite3.Connection) -> None:
            _insert(connection, stream, [payload])

        return self._submit(stream, run, len(payload))

    def replay(self, stream: Stream) -> Iterator[Change]:
        # Whatever is queued counts: it must be in the file before the file is read.
        self._submit(Stream(stream.number, stream.name), lambda _connection: None, 0).result()
        try:
            with closing(self._connect()) as connection:
                rows = connection.execute(
                    "SELECT payload FROM changes WHERE stream = ? ORDER BY sequence",
                    (stream.number,),
                )
                for (payload,) in rows:
                    yield decode_change(payload)
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def rewrite(self, stream: Stream, changes: Sequence[Change]) -> Future[None]:
        payloads = [_encoded(change) for change in changes]

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM changes WHERE stream = ?", (stream.number,))
            _insert(connection, stream, payloads)

        return self._submit(stream, run, sum(len(payload) for payload in payloads))

    def drop(self, stream: Stream) -> Future[None]:
        def run(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM streams WHERE number = ?", (stream.number,))
            connection.execute("DELETE FROM changes WHERE stream = ?", (stream.number,))

        return self._submit(stream, run, 0)

    def _submit(
        self, stream: Stream, run: Callable[[sqlite3.Connection], None], size_bytes: int
    ) -> Future[None]:
        done: Future[None] = Future()
        self._queue.put(_Operation(stream, run, size_bytes, done))
        return done

    def _write_until_closed(self) -> None:
        with closing(self._connect()) as connection:
            while (operations := self._next_operations()) is not None:
                self._commit(connection, operations)

    def _next_operations(self) -> list[_Operation] | None:
        """Wait for an operation and take what else is queued; None when closed and empty."""
        first = self._queue.get()
        if first is None:
            return None
        operations, size_bytes = [first], first.size_bytes
        while len(operations) < OPERATIONS_PER_COMMIT_MAX and size_bytes < COMMIT_BYTES_MAX:
            try:
                operation = self._queue.get_nowait()
            except queue.Empty:
                break
            if operation is None:
                # Seen again after this commit, as the last thing in the queue.
                self._queue.put(None)
                break
            operations.append(operation)
            size_bytes += operation.size_bytes
        return operations

    def _commit(self, connection: sqlite3.Connection, operations: list[_Operation]) -> None:
        wanted = [operation for operation in operations if not operation.stream.has_failed]
        lost = [operation for operation in operations if operation.stream.has_failed]
        try:
            connection.execute("BEGIN IMMEDIATE")
            for operation in wanted:
                operation.run(connection)
            connection.execute("COMMIT")
        except Exception as error:
            # Whatever it is, this thread must live and whoever waits must be told.
            self._failures.inc()
            log.exception("log_commit_failed", operations_count=len(wanted))
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for operation in wanted:
                operation.stream.has_failed = True
                operation.done.set_exception(_unavailable(error))
        else:
            self._commits.inc()
            self._appends.inc(len(wanted))
            for operation in wanted:
                operation.done.set_result(None)
        for operation in lost:
            operation.done.set_exception(_unavailable(None))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES_MAX}")
        connection.execute("PRAGMA busy_timeout = 10000")
        return connection


def _encoded(change: Change) -> bytes:
    payload = encode_change(change)
    if len(payload) > CHANGE_BYTES_MAX:
        raise PayloadTooLargeError(
            "CHANGE_TOO_LARGE",
            f"💔 the write changes {len(payload)} bytes, but one can change at most "
            f"{CHANGE_BYTES_MAX}; split it",
        )
    return payload


def _insert(connection: sqlite3.Connection, stream: Stream, payloads: Sequence[bytes]) -> None:
    # Of two streams with one name the earlier was given up while its first change was written.
    connection.execute(
        "INSERT INTO streams (number, name) VALUES (?, ?) ON CONFLICT (number) DO NOTHING "
        "ON CONFLICT (name) DO UPDATE SET number = excluded.number",
        (stream.number, stream.name),
    )
    connection.executemany(
        "INSERT INTO changes (stream, payload) VALUES (?, ?)",
        [(stream.number, payload) for payload in payloads],
    )


def _unavailable(error: Exception | None) -> UnavailableError:
    cause = error or "an earlier write was lost"
    return UnavailableError(
        "LOG_FAILED", f"💔 the write could not be made durable: {cause}", retry_after_s=1
    )
