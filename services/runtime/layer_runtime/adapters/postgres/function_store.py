"""Functions in PostgreSQL: registered, found, swept in turn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from layer_kit.errors import AlreadyExistsError, NotFoundError
from layer_runtime.adapters.postgres.database import Connection, Database
from layer_runtime.adapters.postgres.statements import load_statements
from layer_runtime.domain.functions import FunctionId, FunctionSpec, Trigger
from layer_runtime.domain.markers import marker_stem
from layer_runtime.domain.schedules import next_firing
from layer_runtime.ports.functions import Function

SQL: Final = load_statements("functions.sql")
PURGE_ROWS: Final = 2000
_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_SPEC: Final = msgspec.json.Decoder(FunctionSpec)


class PostgresFunctions:
    """Keeps functions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        function_id: FunctionId,
        spec: FunctionSpec,
        *,
        is_paused: bool,
        candidate_of: int | None = None,
        outputs: Sequence[str] = (),
    ) -> Function:
        try:
            async with self._database.transaction("create_udf") as connection:
                row = await connection.fetchrow(
                    SQL["create"],
                    function_id,
                    marker_stem(function_id),
                    _encode(spec),
                    Trigger.DISCOVERY in spec.triggers,
                    is_paused,
                    candidate_of,
                    list(outputs),
                    await _fires_at(connection, spec, None),
                )
        except asyncpg.UniqueViolationError as error:
            raise _taken(function_id, error) from error
        return _function(row)

    async def upsert(
        self,
        function_id: FunctionId,
        spec: FunctionSpec,
        *,
        candidate_of: int | None = None,
        outputs: Sequence[str] = (),
    ) -> Function:
        try:
            async with self._database.transaction("upsert_udf") as connection:
                before = await connection.fetchrow(SQL["get"], function_id)
                row = await connection.fetchrow(
                    SQL["upsert"],
                    function_id,
                    marker_stem(function_id),
                    _encode(spec),
                    Trigger.DISCOVERY in spec.triggers,
                    candidate_of,
                    list(outputs),
                    await _fires_at(connection, spec, before),
                )
                if before is not None and _SPEC.decode(before["spec"]).version != spec.version:
                    await connection.execute(SQL["retry_failed"], before["number"])
                found = row or await connection.fetchrow(SQL["get"], function_id)
        except asyncpg.UniqueViolationError as error:
            raise _taken(function_id, error) from error
        return _function(found)

    async def get(self, function_id: FunctionId) -> Function:
        return _one(await self._database.fetch("get_udf", SQL["get"], function_id), function_id)

    async def page(self, after: str, limit: int) -> Sequence[Function]:
        return _all(await self._database.fetch("list_udfs", SQL["page"], after, limit))

    async def all(self) -> Sequence[Function]:
        return _all(await self._database.fetch("list_udfs", SQL["all"]))

    async def delete(self, function_id: FunctionId) -> None:
        if not await self._database.fetch("delete_udf", SQL["delete"], function_id):
            raise _unknown(function_id)

    async def purge(self) -> bool:
        """Remove some of what a deleted function has left; tell whether there may be more."""
        async with self._database.transaction("purge_udf") as connection:
            number = await connection.fetchval(SQL["lock_purge"])
            if number is None:
                return False
            if not await connection.fetchval(SQL["purge"], number, PURGE_ROWS):
                await connection.execute(SQL["forget_purge"], number)
        return True

    async def set_paused(
        self, function_id: FunctionId, *, is_paused: bool, reason: str = ""
    ) -> Function:
        rows = await self._database.fetch(
            "set_paused", SQL["set_paused"], function_id, is_paused, reason
        )
        return _one(rows, function_id)

    async def due_sweeps(self, limit: int) -> Sequence[Function]:
        return _all(await self._database.fetch("due_sweeps", SQL["due_sweeps"], limit))

    async def swept(
        self, number: int, namespaces: Sequence[str], interval_s: float, *, firing_count: int
    ) -> None:
        await self._database.fetch(
            "record_discovery_sweep",
            SQL["swept"],
            number,
            list(namespaces),
            interval_s,
            firing_count,
        )

    async def sweep_failed(self, number: int, pause_s: float) -> None:
        await self._database.fetch("sweep_failed", SQL["sweep_failed"], number, pause_s)

    async def take_duty(self, number: int, duty: str, holder: str, seconds: float) -> bool:
        taken = await self._database.fetchval(
            "take_duty", SQL["take_duty"], number, duty, holder, seconds
        )
        return bool(taken)

    async def give_up_duty(self, number: int, duty: str, holder: str) -> None:
        await self._database.fetch("give_up_duty", SQL["give_up_duty"], number, duty, holder)

    async def fire(self, limit: int) -> int:
        async with self._database.transaction("fire_schedules") as connection:
            rows = await connection.fetch(SQL["due_firings"], limit)
            for row in rows:
                # From now on and not from when it was due: what was missed is one firing.
                cron = _SPEC.decode(row["spec"]).schedule.cron
                await connection.execute(SQL["fire"], row["number"], next_firing(cron, row["now"]))
        return len(rows)

    async def settle_firings(self) -> None:
        await self._database.fetch("settle_firings", SQL["settle_firings"])


async def _fires_at(
    connection: Connection, spec: FunctionSpec, before: asyncpg.Record | None
) -> datetime | None:
    """Return when it fires next; one whose expression stays the same keeps its time."""
    cron = spec.schedule.cron
    if not cron:
        return None
    if before is not None and _SPEC.decode(before["spec"]).schedule.cron == cron:
        fires_at: datetime = before["fires_at"]
        return fires_at
    return next_firing(cron, await connection.fetchval(SQL["now"]))


def epoch_ms(moment: datetime) -> int:
    """Return milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def _function(row: asyncpg.Record | None) -> Function:
    assert row is not None
    return Function(
        number=row["number"],
        id=FunctionId(row["id"]),
        spec=_SPEC.decode(row["spec"]),
        is_paused=row["is_paused"],
        created_at_ms=epoch_ms(row["created_at"]),
        updated_at_ms=epoch_ms(row["updated_at"]),
        sweep_count=row["sweep_count"],
        sweep_failures=row["sweep_failures"],
        swept_at_ms=_epoch_ms(row["swept_at"]),
        active_namespaces=row["active_namespaces"],
        pause_reason=row["pause_reason"] or "",
        fires_at_ms=_epoch_ms(row["fires_at"]),
        fired_at_ms=_epoch_ms(row["fired_at"]),
        firing_count=row["firing_count"],
        is_window_open=row["firing_count"] > row["settled_firing_count"],
        candidate_of=row["candidate_of"],
        outputs=row["outputs"],
    )


def _epoch_ms(moment: datetime | None) -> int | None:
    return None if moment is None else epoch_ms(moment)


def _all(rows: Sequence[asyncpg.Record]) -> list[Function]:
    return [_function(row) for row in rows]


def _one(rows: Sequence[asyncpg.Record], function_id: FunctionId) -> Function:
    if not rows:
        raise _unknown(function_id)
    return _function(rows[0])


def _unknown(function_id: FunctionId) -> NotFoundError:
    return NotFoundError(
        "FUNCTION_NOT_FOUND", f"There is no function {function_id!r}.", function_id=function_id
    )


def _taken(function_id: FunctionId, error: asyncpg.UniqueViolationError) -> AlreadyExistsError:
    if error.constraint_name == "functions_stem_key":
        return AlreadyExistsError(
            "MARKER_TAKEN",
            f"Another function marks rows as {function_id!r} would: - and _ are the same there.",
            function_id=function_id,
        )
    return AlreadyExistsError(
        "FUNCTION_EXISTS",
        f"There is a function {function_id!r} already; update it.",
        function_id=function_id,
    )
