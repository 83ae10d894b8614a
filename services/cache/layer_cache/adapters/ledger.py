"""The ledger in SQLite: a few small tables beside the rows, which eviction must not reach."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from layer_cache.ports import Ledger, WarmRecord
from layer_kit.names import Namespace

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS epoch (namespace TEXT PRIMARY KEY, era INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS floor (only INTEGER PRIMARY KEY CHECK (only = 1), era INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS member (member_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS warm (
    namespace TEXT PRIMARY KEY, warmed_through_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""


class SqliteLedger:
    """Survives a crash of the process at each commit.

    A commit is not synced to disk: after a crash of the machine the directory is not trusted
    anyway. A change that cannot be kept makes ``distrust`` throw everything away at the next
    start, and is otherwise done: the process goes on with what it holds in memory.
    """

    def __init__(
        self, path: Path, *, distrust: Callable[[str], None], was_closed: bool = True
    ) -> None:
        """Open or create the ledger at ``path``.

        Args:
            distrust: Has everything thrown away at the next start.
            was_closed: Whether the run before came to its end. Otherwise nothing is warm: what
                was lost since that was last checked is not known.

        Raises:
            sqlite3.Error: When the file is damaged or cannot be written.
        """
        self._distrust = distrust
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_SCHEMA)
            if not was_closed:
                self._connection.execute("DELETE FROM warm")
            self._ledger = self._read()
        except sqlite3.Error:
            self._connection.close()
            raise

    def load(self) -> Ledger:
        return self._ledger

    def vouch(self) -> None:
        """The lock on the data directory vouches."""

    async def record_epoch(self, namespace: Namespace, era: int) -> None:
        self._write([("INSERT OR REPLACE INTO epoch VALUES (?, ?)", (namespace, era))])

    async def record_floor(self, era: int) -> None:
        self._write(
            [("INSERT OR REPLACE INTO floor VALUES (1, ?)", (era,)), ("DELETE FROM epoch", ())]
        )

    async def add_member(self, member_id: str) -> None:
        self._write([("INSERT OR IGNORE INTO member VALUES (?)", (member_id,))])

    async def remove_members(self, member_ids: Iterable[str]) -> None:
        self._write([("DELETE FROM member WHERE member_id = ?", (id_,)) for id_ in member_ids])

    async def record_warm(self, namespace: Namespace, record: WarmRecord) -> None:
        self._write([("INSERT OR REPLACE INTO warm VALUES (?, ?, ?)", (namespace, *record))])

    async def forget_warm(self, namespaces: Iterable[Namespace] | None = None) -> None:
        if namespaces is None:
            self._write([("DELETE FROM warm", ())])
        else:
            self._write([("DELETE FROM warm WHERE namespace = ?", (name,)) for name in namespaces])

    async def close(self) -> None:
        self._connection.close()

    def _read(self) -> Ledger:
        select = self._connection.execute
        floor = select("SELECT era FROM floor").fetchone()
        return Ledger(
            floor=floor[0] if floor else 0,
            epochs={Namespace(name): era for name, era in select("SELECT * FROM epoch")},
            member_ids=frozenset(row[0] for row in select("SELECT member_id FROM member")),
            warm={
                Namespace(name): WarmRecord(through_ms, expires_ms)
                for name, through_ms, expires_ms in select("SELECT * FROM warm")
            },
        )

    def _write(self, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._connection.execute(statement, values)
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self._distrust(f"ledger: {error}")
