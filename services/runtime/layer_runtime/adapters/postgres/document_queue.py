"""The queue of documents, in PostgreSQL.

A document is in one of two tables, `document_queue` while there is work and `document_settled`
afterwards. What takes one out of the first puts it into the second in the same statement. What
goes the other way, or puts a new one into the first, looks at the second in a statement of its
own, after the first was locked, so that it sees what was settled meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from layer_runtime.adapters.postgres.database import Database
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
        async with self._database.transaction("create_documents") as connection:
            first = PENDING if stage in SETTLED else stage
            try:
                async with connection.transaction():  # the part that may fail
                    rows = await connection.fetch(SQL["enqueue"], number, ids, first)
            except asyncpg.UniqueViolationError:
                rows = await connection.fetch(SQL["enqueue_racing"], number, ids, first)
            new = [row["document"] for row in rows]
            if new:
                gone = await connection.fetch(SQL["forget_settled"], number, new)
                new = sorted(set(new) - {row["document"] for row in gone}, key=str.encode)
            if stage in SETTLED:
                reason = REPORTED if stage == FAILED else ""
                await connection.fetch(SQL["settle"], number, new, stage, reason, None, None, None)
        return len(new)

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

    async def figures(self, number: int) -> Figures:
        stages: dict[str, int] = {}
        reasons: dict[str, int] = {}
        leased_count = recent_count = 0
        for row in await self._database.fetch(
            "count_documents", SQL["counts"], number, RATE_WINDOW_S
        ):
            stage, count = row["stage"], row["waiting"] + row["leased"] + row["settled"]
            stages[stage] = stages.get(stage, 0) + count
            leased_count += row["leased"]
            if stage == FAILED and count:
                reasons[row["reason"]] = count
            if stage == INDEXED:
                recent_count += row["recent"]
        return Figures(
            stage_counts={stage: count for stage, count in stages.items() if count},
            leased_count=leased_count,
            failed_reason_counts=reasons,
            indexed_recently=recent_count,
        )

    async def fold(self, number: int) -> None:
        await self._database.fetch("fold_counts", SQL["fold"], number, 2 * RATE_WINDOW_S)
