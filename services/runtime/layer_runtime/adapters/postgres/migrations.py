"""The schema, brought up to date at start by files that only ever go forward.

``migrations/NNNN_what.sql`` are applied in the order of their numbers, each in a transaction of its
own that also records it. An advisory lock lets one process at a time do so, however many start
together. A file that was released is never edited: its digest is kept and compared. A number that
the database knows and we do not is fine, because it is of a newer release that we run beside.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import structlog

from layer_kit.configuration import ConfigurationError
from layer_runtime.adapters.postgres.database import Connection, Database

log = structlog.get_logger(__name__)

STEP_S_MAX: Final = 3600.0
"""An index over a large table takes its time, and other replicas wait for it."""
FILE_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
BOOKKEEPING: Final = """
CREATE SCHEMA IF NOT EXISTS layer;
CREATE TABLE IF NOT EXISTS layer.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    digest bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('layer.migrations', 0))"
EXISTS: Final = "SELECT to_regclass('layer.migrations') IS NOT NULL"
APPLIED: Final = "SELECT number, digest FROM layer.migrations"
RECORD: Final = "INSERT INTO layer.migrations (number, name, digest) VALUES ($1, $2, $3)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    statements: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.statements.encode()).digest()


def released_migrations() -> tuple[Migration, ...]:
    """Return the steps of this release in order."""
    found = []
    for file in (resources.files("layer_runtime") / "migrations").iterdir():
        if match := FILE_NAME.fullmatch(file.name):
            statements = file.read_text(encoding="utf-8")
            found.append(Migration(number=int(match[1]), name=match[2], statements=statements))
    return tuple(sorted(found, key=lambda migration: migration.number))


async def migrate(database: Database, migrations: Sequence[Migration] | None = None) -> int:
    """Apply what the database lacks; return how many steps that were.

    Raises:
        ConfigurationError: A step differs from what was applied under its number.
        UnavailableError: ``DATABASE_DOWN``; what was applied until then stays.
    """
    steps = released_migrations() if migrations is None else migrations
    applied_count = 0
    while await _apply_next(database, steps):
        applied_count += 1
    return applied_count


async def _apply_next(database: Database, steps: Sequence[Migration]) -> bool:
    async with database.transaction("migrate") as connection:
        # In the transaction, so that it ends with it: a session's lock would outlive an error.
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(LOCK, timeout=STEP_S_MAX)
        applied = await _applied(connection)
        for step in steps:
            digest = applied.get(step.number)
            if digest is None:
                await connection.execute(step.statements, timeout=STEP_S_MAX)
                await connection.execute(RECORD, step.number, step.name, step.digest)
                log.info("migration_applied", number=step.number, name=step.name)
                return True
            if digest != step.digest:
                raise ConfigurationError(
                    f"migration {step.number:04} ({step.name}) is not the one that this database "
                    "was made by; use the release that made it, or another database"
                )
    return False


async def _applied(connection: Connection) -> dict[int, bytes]:
    # Asked first, because a role that may not create schemas may not even say IF NOT EXISTS.
    if not await connection.fetchval(EXISTS):
        await connection.execute(BOOKKEEPING)
    return {row["number"]: row["digest"] for row in await connection.fetch(APPLIED)}
