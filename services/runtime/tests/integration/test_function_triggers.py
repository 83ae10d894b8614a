"""What makes functions look at rows: sweeps, writes and schedules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from layer_testing.edge_calls import eventually
from layer_testing.function_system import FunctionSystem, keys

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def layer(system: FunctionSystem) -> FunctionSystem:
    return system


async def test_writes_trigger_but_not_those_of_functions(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    spec: dict[str, Any] = {
        "target_namespaces": [tools],
        "inputs": ["kind"],
        "filter": ["kind", "NotEq", "drill"],
        "triggers": ["write"],
    }
    await layer.put(tag, **spec)

    async def written() -> list[Any]:
        await layer.write(tools, upsert_rows=[{"id": "new", "vector": [1, 1], "kind": "plane"}])
        return await layer.claim(tag)

    (item,) = await eventually(written)
    result = {"namespace": tools, "id": "new", "attributes": {"class": "P"}}
    # The worker writes an output of its own, as some do, and completes then.
    await layer.write(tools, patch_columns={"id": ["new"], "more": [1]})
    assert await layer.complete(tag, [result]) == 1
    assert item["input"] == {"kind": "plane"}

    # Of what follows, only a change of an input makes work.
    await layer.write(tools, patch_rows=[{"id": "new", "more": 2}])
    await layer.write(tools, upsert_rows=[{"id": "d", "vector": [1, 1], "kind": "drill"}])
    await layer.write(tools, patch_rows=[{"id": "t-3", "more": 2}])  # another drill
    await layer.write(tools, patch_rows=[{"id": "new", "kind": "spokeshave"}])
    again = await eventually(lambda: layer.claim(tag))
    assert [(one["id"], one["input"]) for one in again] == [("new", {"kind": "spokeshave"})]
    assert await layer.complete(tag, [result]) == 1
    assert (await layer.status(tag))["counts"] == {}


async def test_a_filter_can_ask_for_rows_without_an_output_that_no_row_has_yet(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    await layer.put(
        tag,
        target_namespaces=[tools],
        inputs=["kind"],
        filter=["And", [["summary", "Eq", None], ["Not", ["kind", "Eq", "drill"]]]],
        triggers=["discovery", "write"],
    )
    assert (await layer.discover(tag))["enqueued"] == 2
    assert keys(await layer.claim(tag)) == ["t-1", "t-2"]
    results = [
        {"namespace": tools, "id": id_, "attributes": {"summary": id_}} for id_ in ("t-1", "t-2")
    ]
    assert await layer.complete(tag, results) == 2

    # From now on the schema has it, and the store decides.
    await layer.put(
        tag,
        target_namespaces=[tools],
        inputs=["kind"],
        filter=["summary", "Eq", None],
        version="v2",
    )
    assert (await layer.discover(tag))["enqueued"] == 1
    assert keys(await layer.claim(tag)) == ["t-3"]


async def test_a_write_that_brings_the_attribute_of_a_filter_triggers(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    either = ["Or", [["kind", "Eq", "plane"], ["colour", "Eq", "red"]]]
    await layer.put(
        tag, target_namespaces=[tools], inputs=["colour"], filter=either, triggers=["write"]
    )

    async def written() -> list[Any]:
        await layer.write(tools, upsert_rows=[{"id": "new", "vector": [1, 1], "kind": "plane"}])
        return await layer.claim(tag)

    assert keys(await eventually(written)) == ["new"]
    # Writes are heard of now, and the schema is known, which it then is for a while.
    await layer.write(tools, patch_rows=[{"id": "t-1", "colour": "red"}])
    assert keys(await eventually(lambda: layer.claim(tag))) == ["t-1"]


async def test_a_sweep_can_be_made_in_parts(layer: FunctionSystem, tools: str, tag: str) -> None:
    await layer.put(tag, target_namespaces=[tools])
    found, cursor, parts = 0, None, 0
    while True:
        body = {"page_size": 1, "max_pages": 2, **({"cursor": cursor} if cursor else {})}
        part = await layer.discover(tag, **body)
        found, cursor, parts = found + part["enqueued"], part["next_cursor"], parts + 1
        assert part["complete"] is (cursor is None)
        assert part["pages_scanned"] <= 2
        if cursor is None:
            break
    assert (found, parts) == (3, 2)


async def test_sweeps_come_by_themselves_from_whichever_replica(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    schedule = {"discovery_interval_seconds": 1}
    await layer.put(tag, target_namespaces=[tools, "nowhere"], schedule=schedule)
    async with layer.further_runtime(), layer.further_runtime():
        assert keys(await eventually(lambda: layer.claim(tag))) == ["t-1", "t-2", "t-3"]

        async def swept_twice() -> bool:
            return bool((await layer.status(tag))["discovery"]["sweeps_completed"] >= 2)

        assert await eventually(swept_twice)


@asynccontextmanager
async def database(layer: FunctionSystem) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(layer.database_url)
    try:
        yield connection
    finally:
        await connection.close()


async def let_fire(layer: FunctionSystem, function_id: str, ago: timedelta) -> None:
    """Let a schedule have been due for a while, as if nothing had run since."""
    async with database(layer) as connection:
        await connection.execute(
            "UPDATE layer.functions SET fires_at = now() - $2::interval WHERE id = $1",
            function_id,
            ago,
        )


async def firings(layer: FunctionSystem, function_id: str) -> int:
    async with database(layer) as connection:
        statement = "SELECT firing_count FROM layer.functions WHERE id = $1"
        return int(await connection.fetchval(statement, function_id))


async def test_a_schedule_opens_a_window_until_what_it_found_is_done(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    spec: dict[str, Any] = {"target_namespaces": [tools], "schedule": {"cron": "0 3 * * *"}}
    await layer.put(tag, **spec)
    before = (await layer.status(tag))["schedule"]
    assert (before["window_open"], before["last_firing_at"]) == (False, None)
    at = datetime.fromisoformat(before["next_firing_at"])
    assert (at.hour, at.minute, at.second) == (3, 0, 0)
    assert at - datetime.now(UTC) < timedelta(days=1, minutes=1)

    # Three days in which nothing ran are one firing, and three replicas fire it once.
    async with layer.further_runtime(), layer.further_runtime():
        await let_fire(layer, tag, timedelta(days=3))
        items = await eventually(lambda: layer.claim(tag))
        status = await layer.status(tag)
        assert keys(items) == ["t-1", "t-2", "t-3"]
        assert status["schedule"]["window_open"] is True
        assert status["schedule"]["next_firing_at"] == before["next_firing_at"]
        assert status["schedule"]["last_firing_at"].endswith("Z")
        assert await firings(layer, tag) == 1
        done = [{"namespace": tools, "id": id_} for id_ in keys(items)]
        assert await layer.complete(tag, done) == 3

        async def is_closed() -> bool:
            return (await layer.status(tag))["schedule"]["window_open"] is False

        assert await eventually(is_closed)
        assert (await layer.status(tag))["discovery"]["sweeps_completed"] == 1

        # Whoever sends the same times again moves no firing.
        await let_fire(layer, tag, timedelta(hours=-1))
        soon = (await layer.status(tag))["schedule"]["next_firing_at"]
        await layer.put(tag, **spec, version="v2")
        assert (await layer.status(tag))["schedule"]["next_firing_at"] == soon
        await layer.put(tag, target_namespaces=[tools], schedule={"cron": "0 4 * * *"})
        assert "T04:00:00" in (await layer.status(tag))["schedule"]["next_firing_at"]
        await layer.put(tag, target_namespaces=[tools])
        assert "schedule" not in await layer.status(tag)


async def test_a_paused_function_fires_when_it_goes_on(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    spec: dict[str, Any] = {"target_namespaces": [tools], "schedule": {"cron": "0 0 1 1 *"}}
    await layer.put(tag, **spec)
    await layer.calls.pause(tag)
    await let_fire(layer, tag, timedelta(hours=2))
    async with layer.further_runtime():
        other = f"other-{tag}"
        await layer.put(other, **spec)
        await let_fire(layer, other, timedelta(hours=2))
        assert await eventually(lambda: layer.claim(other))
        assert await firings(layer, tag) == 0
        await layer.calls.resume(tag)
        assert await eventually(lambda: layer.claim(tag))
        assert await firings(layer, tag) == 1


async def test_namespaces_are_selected_by_the_labels_of_their_indexes(
    layer: FunctionSystem, tools: str, tag: str
) -> None:
    other = f"other-{tag}"
    await layer.write(other, upsert_rows=[{"id": "o-1", "kind": "ad"}])
    selector = {
        "matchLabels": {"team": "search"},
        "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["bronze"]}],
    }
    await layer.put(tag, index_selector=selector)
    assert (await layer.discover(tag))["namespaces"] == []
    layer.index_file.write_text(
        f"- {{kind: Index, metadata: {{name: {tools}, labels: {{team: search, tier: gold}}}}}}\n"
        f"- {{kind: Index, metadata: {{name: {other}, labels: {{team: search, tier: bronze}}}}}}\n"
    )

    async def found() -> Any:
        swept = await layer.discover(tag)
        return swept if swept["namespaces"] else None

    swept = await eventually(found)
    assert (swept["namespaces"], swept["enqueued"]) == ([tools], 3)
    assert (await layer.status(tag))["active_namespaces"] == [tools]
    listed = (await layer.call("GET", f"/v2/namespaces?prefix={tools}"))["namespaces"]
    assert [one["labels"] for one in listed] == [{"team": "search", "tier": "gold"}]
