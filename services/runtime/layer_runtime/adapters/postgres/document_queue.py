"""The queue of documents, in PostgreSQL.

A document is in one of two tables, `document_queue` while there is work and `document_settled`
afterwards. What takes one out of the first puts it into the second in the same statement. What
goes the other way, or puts a new one into the first, looks at the second in a statement of its
own, after the first was locked, so that it sees what was settled meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from layer_runtime.adapters.postgres.database import Connection, Database
from layer_runtime.adapters.postgres.moments import epoch_ms
from layer_runtime.adapters.postgres.statements import load_statements
from layer_runtime.domain.pipelines import (
    ATTEMPTS_MAX,
    BACKOFF_S_INITIAL,
    BACKOFF_S_MAX,
    FAILED,
    INDEXED,
    PENDING,
    RATE_WINDOW_S,
    REPORTED,
    SETTLED,
    Claimed,
    FailedDocument,
    Figures,
    Guard,
)

SQL: Final = load_statements("documents.sql")
EXPIRED_PER_STATEMENT: Final = 1000
AFTER_ALL: Final = "\U0010ffff"
"""Greater than what can follow a prefix, but for itself."""


class PostgresDocuments:
    """Ids come sorted by their bytes, so that no two calls wait for each other in a circle."""

    def __init__(
        self,
        database: Database,
        *,
        attempts_max: int = ATTEMPTS_MAX,
        backoff_s_initial: float = BACKOFF_S_INITIAL,
    ) -> None:
        self._database = database
        self._attempts_max = attempts_max
        self._backoff_s_initial = backoff_s_initial

    async def stage(self, number: int, document_id: str, payload: bytes) -> Sequence[bytes]:
        async with self._database.transaction("stage_document") as connection:
            before = await connection.fetchval(SQL["lock"], number, document_id)
            await connection.execute(SQL["stage"], number, [document_id], [payload], PENDING)
            settled = await connection.fetch(SQL["unsettle"], number, [document_id])
        found = (before, *(row["payload"] for row in settled))
        return [one for one in found if one]

    async def create_missing(self, number: int, ids: Sequence[str], stage: str) -> int:
        first = PENDING if stage in SETTLED else stage
        try:
            async with self._database.transaction("create_documents") as connection:
                rows = await connection.fetch(SQL["known"], number, ids)
                known = {row["document"] for row in rows}
                new = [one for one in ids if one not in known]
                await connection.copy_records_to_table(
                    "document_queue",
                    schema_name="layer",
                    columns=("pipeline", "document", "stage"),
                    records=[(number, one, first) for one in new],
                )
                return await _created(connection, number, new, stage)
        except asyncpg.UniqueViolationError:  # another transaction creates one of them, too
            async with self._database.transaction("create_documents") as connection:
                rows = await connection.fetch(SQL["enqueue_racing"], number, ids, first)
                new = [row["document"] for row in rows]
                return await _created(connection, number, new, stage)

    async def payload(self, number: int, document_id: str) -> bytes | None:
        rows = await self._database.fetch("get_document", SQL["find"], number, document_id)
        return (rows[0]["payload"] or b"") if rows else None

    async def is_held(self, number: int, document_id: str, lease: int) -> bool:
        return bool(
            await self._database.fetchval("held_document", SQL["held"], number, document_id, lease)
        )

    async def claim(
        self,
        number: int,
        *,
        stage: str,
        claim_stage: str,
        limit: int,
        worker: str,
        lease_s: int,
        prefix: str,
    ) -> Claimed:
        lease: int | None = None
        ids: list[str] = []
        waited_s: list[float] = []
        async with self._database.connection("claim_documents") as connection:

            async def take() -> None:
                nonlocal lease
                asked = (number, stage, limit - len(ids), claim_stage, worker, lease_s, lease)
                if prefix:
                    bounds = (prefix, prefix + AFTER_ALL)
                    rows = await connection.fetch(SQL["claim_prefix"], *asked, *bounds)
                else:
                    rows = await connection.fetch(SQL["claim"], *asked)
                for row in rows:
                    lease = row["lease"]
                    ids.append(row["document"])
                    waited_s.append(row["stage_s"])

            if stage in SETTLED:
                await connection.fetch(SQL["reopen_some"], number, stage, limit, prefix)
            await take()
            if len(ids) < limit and await connection.fetch(
                SQL["expire"], number, self._attempts_max, EXPIRED_PER_STATEMENT
            ):
                await take()
        return Claimed(lease=lease or 0, document_ids=ids, waited_s=waited_s)

    async def heartbeat(self, number: int, ids: Sequence[str], guard: Guard) -> int:
        rows = await self._database.fetch(
            "heartbeat_documents",
            SQL["heartbeat"],
            *(number, ids, guard.stage, guard.worker, guard.lease),
        )
        return len(rows)

    async def move(self, number: int, ids: Sequence[str], stage: str, guard: Guard) -> int:
        guards = (guard.stage, guard.worker, guard.lease)
        async with self._database.transaction("move_documents") as connection:
            count = len(await connection.fetch(SQL["move"], number, ids, stage, *guards))
            if count < len(ids) and not guard.holds_back_free:
                rows = await connection.fetch(SQL["reopen"], number, ids, stage, guard.stage)
                count += len(rows)
        return count

    async def settle(
        self, number: int, ids: Sequence[str], stage: str, reason: str, guard: Guard
    ) -> Sequence[float]:
        guards = (guard.stage, guard.worker, guard.lease)
        async with self._database.transaction("settle_documents") as connection:
            rows = await connection.fetch(SQL["settle"], number, ids, stage, reason, *guards)
            stayed_s: list[float] = [row["stage_s"] for row in rows]
            if len(rows) < len(ids) and not guard.holds_back_free:
                again = await connection.fetch(
                    SQL["resettle"], number, ids, stage, reason, guard.stage
                )
                stayed_s += [0.0] * (len(again) - len(rows) if guard.stage is None else len(again))
        return stayed_s

    async def fail_attempts(
        self, number: int, ids: Sequence[str], reason: str, guard: Guard
    ) -> Sequence[bool]:
        rows = await self._database.fetch(
            "fail_document_attempt",
            SQL["fail"],
            *(number, list(ids), [reason] * len(ids), [False] * len(ids)),
            *(guard.stage, guard.worker, guard.lease),
            *(self._attempts_max, self._backoff_s_initial, BACKOFF_S_MAX),
        )
        return [row["is_failed"] for row in rows]

    async def expire(self, number: int) -> int:
        rows = await self._database.fetch(
            "expire_leases", SQL["expire"], number, self._attempts_max, EXPIRED_PER_STATEMENT
        )
        return len(rows)

    async def failed(self, number: int, *, after: str, limit: int) -> Sequence[FailedDocument]:
        rows = await self._database.fetch("failed_documents", SQL["failed"], number, after, limit)
        return [
            FailedDocument(
                id=row["document"],
                reason=row["reason"] or "",
                attempt_count=row["attempts"],
                failed_ms=epoch_ms(row["settled_at"]),
            )
            for row in rows
        ]

    async def figures(self, numbers: Sequence[int]) -> Mapping[int, Figures]:
        counted: dict[int, list[asyncpg.Record]] = {number: [] for number in numbers}
        for row in await self._database.fetch(
            "count_documents", SQL["counts"], numbers, RATE_WINDOW_S
        ):
            counted[row["pipeline"]].append(row)
        return {number: _figures(rows) for number, rows in counted.items()}

    async def fold(self, numbers: Sequence[int]) -> None:
        await self._database.fetch("fold_counts", SQL["fold"], numbers, 2 * RATE_WINDOW_S)


async def _created(connection: Connection, number: int, new: list[str], stage: str) -> int:
    """Take back what was settled meanwhile, settle what is not to wait; return how many stay."""
    if not new:
        return 0
    gone = {row["document"] for row in await connection.fetch(SQL["forget_settled"], number, new)}
    if stage in SETTLED:
        ids = [one for one in new if one not in gone]
        reason = REPORTED if stage == FAILED else ""
        await connection.fetch(SQL["settle"], number, ids, stage, reason, None, None, None)
    return len(new) - len(gone)


def _figures(rows: Sequence[asyncpg.Record]) -> Figures:
    stages: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for row in rows:
        stages[row["stage"]] = stages.get(row["stage"], 0) + row["count"]
        if row["stage"] == FAILED and row["count"]:
            reasons[row["reason"]] = row["count"]
    return Figures(
        stage_counts={stage: count for stage, count in stages.items() if count},
        leased_count=sum(row["leased"] for row in rows),
        failed_reason_counts=reasons,
        indexed_recently=sum(row["recent"] for row in rows if row["stage"] == INDEXED),
    )
