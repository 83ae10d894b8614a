"""Which pipelines there are, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncpg

from layer_runtime.adapters.postgres.database import Database
from layer_runtime.adapters.postgres.moments import epoch_ms
from layer_runtime.adapters.postgres.statements import load_statements
from layer_runtime.domain.pipelines import Distance, Pipeline, PipelineId
from layer_runtime.domain.schedules import next_firing

SQL: Final = load_statements("pipelines.sql")
DOCUMENTS_SQL: Final = load_statements("documents.sql")
PURGE_ROWS: Final = 2000


class PostgresPipelines:
    """The table of pipelines."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, pipeline_id: PipelineId, target_namespace: str, distance: Distance, cron: str
    ) -> Pipeline | None:
        async with self._database.transaction("create_pipeline") as connection:
            fires_at = next_firing(cron, await connection.fetchval(SQL["now"])) if cron else None
            row = await connection.fetchrow(
                SQL["create"], pipeline_id, target_namespace, distance.value, cron, fires_at
            )
        return _pipeline(row) if row else None

    async def get(self, pipeline_id: PipelineId) -> Pipeline | None:
        rows = await self._database.fetch("get_pipeline", SQL["get"], pipeline_id)
        return _pipeline(rows[0]) if rows else None

    async def page(self, *, after: str, limit: int) -> Sequence[Pipeline]:
        rows = await self._database.fetch("list_pipelines", SQL["page"], after, limit)
        return [_pipeline(row) for row in rows]

    async def delete(self, pipeline_id: PipelineId) -> bool:
        return bool(await self._database.fetch("delete_pipeline", SQL["delete"], pipeline_id))

    async def fire(self, limit: int) -> int:
        async with self._database.transaction("fire_pipelines") as connection:
            rows = await connection.fetch(SQL["due_firings"], limit)
            for row in rows:
                at = next_firing(row["cron"], row["now"])
                await connection.execute(SQL["fire"], row["number"], at)
        return len(rows)

    async def close_windows(self, *, open_s_min: float) -> None:
        await self._database.fetch("close_windows", SQL["close_windows"], open_s_min)

    async def purge(self, drop_chunks: Callable[[str, int], Awaitable[object]]) -> bool:
        """Remove some of what a deleted pipeline has left; tell whether there may be more.

        Args:
            drop_chunks: Removes the chunks of the pipeline of an id and a number.
        """
        async with self._database.transaction("purge_pipeline") as connection:
            found = await connection.fetchrow(SQL["lock_purge"])
            if found is None:
                return False
            number: int = found["number"]
            if not await connection.fetchval(DOCUMENTS_SQL["purge"], number, PURGE_ROWS):
                # Last, since a document that was just being staged may still have written some.
                await drop_chunks(found["id"], number)
                await connection.execute(SQL["forget_purge"], number)
        return True


def _pipeline(row: asyncpg.Record | Any) -> Pipeline:
    return Pipeline(
        number=row["number"],
        id=PipelineId(row["id"]),
        target_namespace=row["target_namespace"],
        distance=Distance(row["distance_metric"]),
        created_ms=epoch_ms(row["created_at"]),
        cron=row["cron"],
        fires_ms=None if row["fires_at"] is None else epoch_ms(row["fires_at"]),
        fired_ms=None if row["fired_at"] is None else epoch_ms(row["fired_at"]),
        is_window_open=row["is_window_open"],
    )
