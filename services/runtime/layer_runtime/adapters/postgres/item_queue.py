"""Items in PostgreSQL. Every method is one transaction, and may be repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Protocol, TypeVar

import asyncpg
import structlog

from layer_runtime.adapters.postgres.database import Connection, Database
from layer_runtime.adapters.postgres.function_store import epoch_ms
from layer_runtime.adapters.postgres.item_records import found_item, held_item, item_key
from layer_runtime.adapters.postgres.statements import load_statements
from layer_runtime.domain.items import (
    LEASE_LOST,
    Claimed,
    FailedItem,
    FoundItem,
    Given,
    Held,
    ItemKey,
    Reference,
    Verdict,
)
from layer_runtime.ports.items import QueueFigures

log = structlog.get_logger(__name__)

SQL: Final = load_statements("items.sql")
IDS_PER_STATEMENT: Final = 10_000
K = TypeVar("K", bound="_Keyed")
NUL: Final = "\0"
"""What no text of PostgreSQL has."""


class PostgresItems:
    """The queue. Arrays go in the order of their keys, so that no two calls wait in a circle."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(self, number: int, namespace: str, ids: Sequence[str]) -> int:
        new_count = 0
        for part in _parts(_kept(namespace, ids)):
            try:
                new_count += await self._copy_in(number, namespace, part)
            except asyncpg.UniqueViolationError:  # another transaction creates one of them, too
                async with self._database.transaction("enqueue_items") as connection:
                    if not await connection.fetchval(SQL["known"], number):
                        break
                    outcome = await connection.execute(
                        SQL["enqueue_racing"], number, namespace, part
                    )
                    new_count += _count(outcome)
        return new_count

    async def _copy_in(self, number: int, namespace: str, ids: Sequence[str]) -> int:
        """Add those that are not there; return how many, none of a function that is deleted."""
        async with self._database.transaction("enqueue_items") as connection:
            if not await connection.fetchval(SQL["known"], number):
                return 0
            rows = await connection.fetch(SQL["found"], number, namespace, ids)
            found = {row["id"] for row in rows}
            new = [(number, namespace, id_) for id_ in ids if id_ not in found]
            if new:
                await connection.copy_records_to_table(
                    "function_items",
                    schema_name="layer",
                    columns=("function", "namespace", "id"),
                    records=new,
                )
        return len(new)

    async def force(self, number: int, namespace: str, ids: Sequence[str]) -> int:
        new_count = 0
        for part in _parts(_kept(namespace, ids)):
            async with self._database.transaction("force_items") as connection:
                if not await connection.fetchval(SQL["known"], number):
                    break
                rows = await connection.fetch(SQL["force"], number, namespace, part)
                new_count += sum(row["is_new"] for row in rows)
        return new_count

    async def claim(
        self, number: int, worker: str, *, limit: int, lease_s: int, attempt_count_max: int
    ) -> Sequence[Claimed]:
        async with self._database.transaction("claim_items") as connection:
            await connection.execute(SQL["expire"], number, attempt_count_max, LEASE_LOST)
            rows = await connection.fetch(SQL["claim"], number, worker, limit, lease_s)
        found = [
            Claimed(
                item_key(row), row["lease"], row["generation"], row["is_forced"], row["done_digest"]
            )
            for row in rows
        ]
        return sorted(found, key=lambda item: (item.key.namespace, item.key.id))

    async def remember(self, number: int, lease: int, version: str, given: Sequence[Given]) -> None:
        async with self._database.transaction("remember_items") as connection:
            for namespace, part in _by_namespace(given):
                stamps, digests = [one.stamp_ms for one in part], [one.digest for one in part]
                of = (number, namespace, [one.key.id for one in part])
                await connection.execute(SQL["remember"], *of, lease, version, stamps, digests)

    async def drop(self, number: int, items: Sequence[Claimed]) -> None:
        async with self._database.transaction("drop_items") as connection:
            for namespace, part in _by_namespace(items):
                of = (number, namespace, *_columns(part))
                done = await connection.fetch(SQL["finish"], *of, [one.generation for one in part])
                if len(done) < len(part):
                    await connection.execute(SQL["look_again"], *of)

    async def release(self, number: int, lease: int) -> None:
        await self._database.fetch("release_items", SQL["release"], number, lease)

    async def held(
        self, number: int, worker: str, items: Sequence[Reference], *, lease_s_min: int
    ) -> Sequence[Held]:
        found: list[Held] = []
        async with self._database.transaction("held_items") as connection:
            for namespace, part in _by_namespace(items):
                of = (number, namespace, *_columns(part))
                rows = await connection.fetch(SQL["held"], *of, worker, lease_s_min)
                found += map(held_item, rows)
        return sorted(found, key=lambda item: (item.key.namespace, item.key.id))

    async def heartbeat(self, number: int, worker: str, items: Sequence[Reference]) -> int:
        count = 0
        async with self._database.transaction("heartbeat_items") as connection:
            for namespace, part in _by_namespace(items):
                of = (number, namespace, *_columns(part))
                count += len(await connection.fetch(SQL["heartbeat"], *of, worker))
        return count

    async def finish(self, number: int, items: Sequence[Held]) -> int:
        count = 0
        async with self._database.transaction("complete_items") as connection:
            for namespace, part in _by_namespace(items):
                of = (number, namespace, *_columns(part))
                generations = [one.generation for one in part]
                done = len(await connection.fetch(SQL["finish"], *of, generations))
                if done < len(part):
                    done += len(await connection.fetch(SQL["wait_again"], *of))
                count += done
            if count:
                await connection.execute(SQL["completed"], number, count)
        return count

    async def requeue(self, number: int, items: Sequence[Held]) -> None:
        async with self._database.transaction("requeue_items") as connection:
            for namespace, part in _by_namespace(items):
                await connection.execute(SQL["requeue"], number, namespace, *_columns(part))

    async def judge(self, number: int, verdicts: Sequence[Verdict]) -> int:
        count = 0
        async with self._database.transaction("fail_items") as connection:
            for namespace, part in _by_namespace(verdicts):
                rows = await connection.fetch(
                    SQL["judge"],
                    *(number, namespace, *_columns(part)),
                    [verdict.attempts for verdict in part],
                    [verdict.pause_s for verdict in part],
                    [_text(verdict.message) for verdict in part],
                )
                count += len(rows)
        return count

    async def reset_failed(self, number: int) -> int:
        count = 0
        while True:
            rows = await self._database.fetch(
                "reset_failed", SQL["reset_failed"], number, IDS_PER_STATEMENT
            )
            count += len(rows)
            if len(rows) < IDS_PER_STATEMENT:
                return count

    async def find(self, number: int, keys: Sequence[ItemKey]) -> Sequence[FoundItem]:
        ids_by_namespace: dict[str, set[str]] = {}
        for key in keys:
            ids_by_namespace.setdefault(key.namespace, set()).add(key.id)
        found: list[FoundItem] = []
        async with self._database.connection("find_items") as connection:
            for namespace, ids in ids_by_namespace.items():
                rows = await connection.fetch(SQL["find"], number, namespace, sorted(ids))
                found += map(found_item, rows)
        return found

    async def failed(
        self, number: int, *, after: ItemKey | None, limit: int
    ) -> Sequence[FailedItem]:
        start = after or ItemKey("", "")
        rows = await self._database.fetch(
            "failed_items", SQL["failed"], number, start.namespace, start.id, limit
        )
        return [
            FailedItem(
                item_key(row), row["message"] or "", row["attempts"], epoch_ms(row["failed_at"])
            )
            for row in rows
        ]

    async def figures(self, number: int, *, window_s: int) -> QueueFigures:
        async with self._database.connection("get_status") as connection:
            found = await _figures(connection, number, window_s)
        return found.get(number, QueueFigures())

    async def all_figures(self, *, window_s: int) -> Mapping[int, QueueFigures]:
        async with self._database.connection("collect_metrics") as connection:
            return await _figures(connection, None, window_s)

    async def fold(self, *, older_than_s: int) -> None:
        async with self._database.transaction("fold_counts") as connection:
            await connection.execute(SQL["forget_completions"], float(older_than_s))
            await connection.execute(SQL["fold"])


async def _figures(
    connection: Connection, number: int | None, window_s: int
) -> dict[int, QueueFigures]:
    completions = await connection.fetch(SQL["completions"], number, float(window_s))
    completed = {row["function"]: row["completed"] for row in completions}
    rows = await connection.fetch(SQL["figures"], number)
    found = {
        row["function"]: QueueFigures(
            pending_count=row["pending"],
            processing_count=row["processing"],
            failed_count=row["failed"],
            completed_count=completed.pop(row["function"], 0),
        )
        for row in rows
    }
    return found | {key: QueueFigures(completed_count=count) for key, count in completed.items()}


class _Keyed(Protocol):
    @property
    def key(self) -> ItemKey: ...


class _Leased(_Keyed, Protocol):
    @property
    def lease(self) -> int: ...


def _by_namespace(items: Iterable[K]) -> Iterator[tuple[str, list[K]]]:
    """Yield items of one namespace together, each once, in the order in which rows are locked."""
    by_key = {(item.key.namespace, item.key.id): item for item in items}
    ordered = [by_key[key] for key in sorted(by_key)]
    for namespace, part in groupby(ordered, key=lambda item: item.key.namespace):
        yield namespace, list(part)


def _columns(items: Sequence[_Leased]) -> tuple[list[str], list[int]]:
    return [item.key.id for item in items], [item.lease for item in items]


def _parts(ids: list[str]) -> Iterable[list[str]]:
    return (ids[at : at + IDS_PER_STATEMENT] for at in range(0, len(ids), IDS_PER_STATEMENT))


def _kept(namespace: str, ids: Sequence[str]) -> list[str]:
    """Return ids in the order in which rows are locked, but those that no column holds."""
    found = {id_ for id_ in ids if NUL not in id_}
    if left_out_count := sum(NUL in id_ for id_ in ids):
        log.warning("rows_left_out", namespace=namespace, count=left_out_count)
    return sorted(found)


def _text(message: str | None) -> str | None:
    return None if message is None else message.replace(NUL, "\N{REPLACEMENT CHARACTER}")


def _count(outcome: Any) -> int:
    """Return how many rows a statement says that it has inserted: ``INSERT 0 7``."""
    return int(str(outcome).rsplit(" ", 1)[-1])
