"""What the planner makes of the statements of the queues, while they are empty and when long.

A long queue is told to the planner as statistics of a million rows; the plans are what is tested,
not the time that they take.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from layer_runtime.adapters.postgres.database import Connection, Database, Limits, open_database
from layer_runtime.adapters.postgres.document_queue import SQL
from layer_runtime.adapters.postgres.item_queue import SQL as ITEMS_SQL
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics
from layer_runtime.adapters.postgres.migrations import migrate
from layer_testing.postgres import PostgresServer

LIMITS = Limits(connections_max=2, statement_timeout_s=60, idle_in_transaction_ms=60_000)
IDS = [f"document-{number:06}" for number in range(100)]
ANYONE = (None, None, None)
KEY, WAITING, LEASED = "document_queue_pkey", "document_queue_waiting", "document_queue_leased"
CLAIM = (1, "pending", 100, "embedding", "w", 60, None)
STATEMENTS: dict[str, tuple[tuple[Any, ...], set[str]]] = {
    "claim": (CLAIM, {WAITING}),
    "claim_prefix": ((*CLAIM, "document-0", "document-0\U0010ffff"), {KEY}),
    "expire": ((1, 8, 1000), {LEASED}),
    "heartbeat": ((1, IDS, "embedding", "w", None), {KEY}),
    "move": ((1, IDS, "pending", *ANYONE), {KEY}),
    "settle": ((1, IDS, "indexed", "", *ANYONE), {KEY}),
    "fail": ((1, IDS, ["x"] * 100, [False] * 100, *ANYONE, 8, 1.0, 300.0), {KEY}),
    "stage": ((1, IDS, [b""] * 100, "pending"), set()),
    "known": ((1, IDS), {KEY}),
    "enqueue_racing": ((1, IDS, "pending"), set()),
    "counts": (([1], 60), set()),
    "fold": (([1], 120), set()),
}
GIVEN = (1, "rows", IDS)
ITEM_KEY = "function_items_pkey"
ITEM_WAITING, ITEM_LEASED = "function_items_waiting", "function_items_leased"
ITEM_FAILED = "function_items_failed"
LEASES, ZEROS = [7] * 100, [0] * 100
ITEM_STATEMENTS: dict[str, tuple[tuple[Any, ...], set[str]]] = {
    "claim": ((1, "w", 100, 60), {ITEM_WAITING}),
    "expire": ((1, 8, "lost"), {ITEM_LEASED}),
    "remember": ((*GIVEN, 7, "v1", ZEROS, [b""] * 100), {ITEM_KEY}),
    "held": ((*GIVEN, LEASES, "w", 60.0), {ITEM_KEY}),
    "heartbeat": ((*GIVEN, LEASES, "w"), {ITEM_KEY}),
    "finish": ((*GIVEN, LEASES, ZEROS), {ITEM_KEY}),
    "wait_again": ((*GIVEN, LEASES), {ITEM_KEY}),
    "look_again": ((*GIVEN, LEASES), {ITEM_KEY}),
    "requeue": ((*GIVEN, LEASES), {ITEM_KEY}),
    "judge": ((*GIVEN, LEASES, ZEROS, [1.0] * 100, ["no"] * 100), {ITEM_KEY}),
    "found": (GIVEN, {ITEM_KEY}),
    "reset_failed": ((1, 100), {ITEM_FAILED}),
    "failed": ((1, "", "", 100), {ITEM_FAILED}),
    "figures": ((1,), set()),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["empty", "long"])
async def database(
    request: pytest.FixtureRequest, postgres: PostgresServer
) -> AsyncIterator[Database]:
    metrics = DatabaseMetrics(CollectorRegistry())
    url = postgres.new_database()
    async with open_database(url, LIMITS, metrics=metrics, pool_name="test") as database:
        await migrate(database)
        if request.param == "long":
            async with database.connection("fill") as connection:
                await connection.execute(FILL)
                await connection.execute(FILL_ITEMS)
                await connection.execute("ANALYZE layer.document_queue, layer.function_items")
                await connection.execute(PRETEND)
        yield database


FILL = """
INSERT INTO layer.document_queue (pipeline, document, stage, due_at, entered_at, lease, worker)
SELECT 1, 'document-' || lpad(n::text, 6, '0'),
    CASE WHEN n % 10 = 0 THEN 'embedding' ELSE 'pending' END,
    now() + (n - 10000) * interval '1 ms', now(),
    CASE WHEN n % 10 = 0 THEN n END, CASE WHEN n % 10 = 0 THEN 'w' END
FROM generate_series(1, 10000) AS n
"""
FILL_ITEMS = """
INSERT INTO layer.function_items (function, namespace, id, due_at, lease, worker)
SELECT 1, 'rows', 'document-' || lpad(n::text, 6, '0'), now() + (n - 10000) * interval '1 ms',
    CASE WHEN n % 10 = 0 THEN n END, CASE WHEN n % 10 = 0 THEN 'w' END
FROM generate_series(1, 10000) AS n
"""
PRETEND = """
UPDATE pg_class SET reltuples = 100 * reltuples
WHERE oid IN ('layer.document_queue'::regclass, 'layer.function_items'::regclass)
"""


def scans(plan: Any) -> Iterator[dict[str, Any]]:
    """Yield the nodes of a plan that read a table or an index."""
    if plan["Node Type"].endswith("Scan") and plan["Node Type"] != "CTE Scan":
        yield plan
    for child in plan.get("Plans", ()):
        yield from scans(child)


def indexes_of(plan: Any, table: str) -> set[str]:
    """Return the indexes by which a table is read.

    Raises:
        AssertionError: It is read as a whole.
    """
    found = [one for one in scans(plan) if one.get("Relation Name") == table]
    assert not [one for one in found if one["Node Type"] in ("Seq Scan", "Bitmap Heap Scan")]
    return {one["Index Name"] for one in found if "Index Name" in one}


async def explained(connection: Connection, statement: str, arguments: tuple[Any, ...]) -> Any:
    async def roll_back() -> Any:
        transaction = connection.transaction()
        await transaction.start()
        # As it is kept, whatever the arguments are.
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        try:
            return await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
        finally:
            await transaction.rollback()

    return json.loads(await roll_back())[0]["Plan"]


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_statement_reads_rows_by_its_index_alone(database: Database, name: str) -> None:
    arguments, indexes = STATEMENTS[name]
    async with database.connection("explain") as connection:
        plan = await explained(connection, SQL[name], arguments)

    assert indexes_of(plan, "document_queue") == indexes


@pytest.mark.parametrize("name", ITEM_STATEMENTS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_statement_reads_items_by_its_index_alone(database: Database, name: str) -> None:
    arguments, indexes = ITEM_STATEMENTS[name]
    async with database.connection("explain") as connection:
        plan = await explained(connection, ITEMS_SQL[name], arguments)

    assert indexes_of(plan, "function_items") == indexes
    for one in scans(plan):
        if one.get("Index Name") == ITEM_KEY:
            assert "id = " in one["Index Cond"]  # not all items of the function


@pytest.mark.asyncio(loop_scope="module")
async def test_a_claim_stops_reading_at_its_limit(database: Database) -> None:
    async with database.connection("explain") as connection:
        plan = await explained(connection, SQL["claim"], CLAIM)

    nodes = json.dumps(plan)
    assert '"Node Type": "Limit"' in nodes
    assert nodes.count('"Node Type": "Sort"') == 1  # of what was claimed
    assert "Tid Scan" in nodes
