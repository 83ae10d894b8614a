"""What was acknowledged outlives a kill at any moment, and requests stay whole."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import turbopuffer

ROUNDS = 4
WRITERS = 4
ROWS_PER_WRITE = 5
INDEX_ROWS_MIN = 20
"""So few that the kills also meet indexes that are built, saved and loaded."""

SEARCHED_COUNT = 5


async def test_no_acknowledged_write_is_lost_and_none_is_half_done(
    start: Callable[..., Any], new_client: Callable[..., Any]
) -> None:
    numbers = itertools.count()
    acknowledged: set[int] = set()

    async def write_until_it_dies(client: Any, enough: asyncio.Event) -> None:
        ns = client.namespace("crash")
        while True:
            number = next(numbers)
            rows = [
                {"id": id_, "write": number, "vector": [float(number), 1.0]} for id_ in ids(number)
            ]
            try:
                await ns.write(upsert_rows=rows, distance_metric="euclidean_squared")
            except turbopuffer.APIError:
                return
            acknowledged.add(number)
            if number % 25 == 0:
                enough.set()

    for _ in range(ROUNDS):
        async with (
            start(index_rows_min=INDEX_ROWS_MIN) as service,
            new_client(service) as client,
        ):
            await check(client, acknowledged)
            enough = asyncio.Event()
            writers = [
                asyncio.create_task(write_until_it_dies(client, enough)) for _ in range(WRITERS)
            ]
            await asyncio.wait_for(enough.wait(), 20)
            await service.kill()
            await asyncio.gather(*writers)

    async with start(index_rows_min=INDEX_ROWS_MIN) as service, new_client(service) as client:
        await check(client, acknowledged)


def ids(number: int) -> list[int]:
    """Return the ids of the rows of one write."""
    return [number * ROWS_PER_WRITE + i for i in range(ROWS_PER_WRITE)]


async def check(client: Any, acknowledged: set[int]) -> None:
    if not acknowledged:
        return
    ns = client.namespace("crash")
    answer = await ns.query(aggregate_by={"rows": ("Count",)}, group_by=["write"], limit=10_000)
    counts = {group["write"]: group["rows"] for group in answer.aggregation_groups}
    assert acknowledged <= counts.keys()
    assert set(counts.values()) == {ROWS_PER_WRITE}
    for number in sorted(acknowledged)[-SEARCHED_COUNT:]:
        found = await ns.query(
            rank_by=("vector", "ANN", [float(number), 1.0]), limit=ROWS_PER_WRITE
        )
        assert [(row.id, row["$dist"]) for row in found.rows] == [(id_, 0) for id_ in ids(number)]


async def test_everything_is_there_after_an_orderly_restart(
    start: Callable[..., Any], new_client: Callable[..., Any]
) -> None:
    async with start() as service, new_client(service) as client:
        ns = client.namespace("kept")
        await ns.write(
            upsert_rows=[{"id": 1, "vector": [1.0, 2.0], "text": "fox", "tags": ["a"]}],
            distance_metric="cosine_distance",
            schema={"text": {"type": "string", "full_text_search": True}},
        )
        await client.namespace("gone").write(upsert_rows=[{"id": 1}])
        await client.namespace("gone").delete_all()
        before = await ns.metadata()
        assert await service.terminate() == 0

    async with start() as service, new_client(service) as client:
        assert [item.id async for item in client.namespaces()] == ["kept"]
        ns = client.namespace("kept")
        assert await ns.metadata() == before
        found = await ns.query(rank_by=("text", "BM25", "fox"), top_k=1, include_attributes=True)
        assert found.rows[0].model_dump(exclude={"$dist"}) == {
            "id": 1,
            "vector": [1.0, 2.0],
            "text": "fox",
            "tags": ["a"],
        }
