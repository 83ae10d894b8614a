"""The queue of items on a real PostgreSQL: what comes in, what is counted, what goes."""

from __future__ import annotations

import asyncio

import pytest

from layer_kit.errors import NotFoundError
from layer_runtime.adapters.postgres import function_store, item_queue
from layer_runtime.adapters.postgres.database import Database
from layer_runtime.adapters.postgres.function_store import PostgresFunctions
from layer_runtime.adapters.postgres.item_queue import PostgresItems
from layer_runtime.domain.functions import FunctionId, FunctionSpec
from layer_runtime.domain.items import Verdict
from layer_runtime.ports.functions import Function
from layer_runtime.ports.items import QueueFigures

ID = FunctionId("tag")
NAME = "rows"
LEFT = """
SELECT (SELECT count(*) FROM layer.function_items)
    + (SELECT count(*) FROM layer.function_item_counts)
    + (SELECT count(*) FROM layer.purged_functions)
"""
IDS = [f"r{number:03}" for number in range(300)]


@pytest.fixture
def items(database: Database) -> PostgresItems:
    return PostgresItems(database)


@pytest.fixture
def functions(database: Database) -> PostgresFunctions:
    return PostgresFunctions(database)


@pytest.fixture
async def function(functions: PostgresFunctions) -> Function:
    spec = FunctionSpec(target_namespaces=(NAME,), inputs=("n",))
    return await functions.create(ID, spec, is_paused=False)


async def figures(items: PostgresItems, function: Function) -> QueueFigures:
    return await items.figures(function.number, window_s=60)


async def give_up(items: PostgresItems, function: Function, count: int) -> None:
    claimed = await items.claim(function.number, "w", limit=count, lease_s=60, attempt_count_max=3)
    verdicts = [Verdict(item.key, item.lease, 1, None, "no") for item in claimed]
    assert await items.judge(function.number, verdicts) == count


async def test_callers_that_enqueue_the_same_rows_at_once_add_each_once(
    items: PostgresItems, function: Function
) -> None:
    calls = (items.enqueue(function.number, NAME, IDS[at : at + 200]) for at in range(0, 101, 20))
    added = await asyncio.gather(*calls)
    assert sum(added) == len(IDS)
    assert (await figures(items, function)).pending_count == len(IDS)


async def test_rows_that_wait_already_are_not_added_again(
    items: PostgresItems, function: Function
) -> None:
    assert await items.enqueue(function.number, NAME, IDS[:100]) == 100
    assert await items.enqueue(function.number, NAME, IDS) == 200
    assert await items.enqueue(function.number, NAME, IDS) == 0


async def test_counts_do_not_read_the_queue(
    items: PostgresItems, function: Function, database: Database
) -> None:
    await items.enqueue(function.number, NAME, IDS)
    await give_up(items, function, 20)
    await items.claim(function.number, "w", limit=50, lease_s=60, attempt_count_max=3)
    async with database.transaction("test") as connection:
        # Nobody else can read it now.
        await connection.execute("LOCK TABLE layer.function_items IN ACCESS EXCLUSIVE MODE")
        counted = await figures(items, function)
        (by_number,) = (await items.all_figures(window_s=60)).items()

    assert by_number == (function.number, counted)
    assert counted == QueueFigures(pending_count=230, processing_count=50, failed_count=20)


async def test_failed_items_wait_again_however_many_they_are(
    items: PostgresItems, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(item_queue, "IDS_PER_STATEMENT", 7)
    await items.enqueue(function.number, NAME, IDS[:20])
    await give_up(items, function, 20)
    assert await items.reset_failed(function.number) == 20
    assert await figures(items, function) == QueueFigures(pending_count=20)


async def test_what_a_deleted_function_has_left_goes_in_parts(
    items: PostgresItems,
    functions: PostgresFunctions,
    function: Function,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(function_store, "PURGE_ROWS", 100)
    await items.enqueue(function.number, NAME, IDS)
    await functions.delete(ID)
    with pytest.raises(NotFoundError):
        await functions.get(ID)
    assert await items.enqueue(function.number, NAME, ["late"]) == 0

    parts = 0
    while await functions.purge():
        parts += 1

    assert parts == 4  # three with rows, and one that finds none
    assert await database.fetchval("test", LEFT) == 0
