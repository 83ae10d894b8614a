"""The official client's operations, as its documentation shows them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import turbopuffer
from turbopuffer import Turbopuffer

from layer_testing.processes import ServiceProcess

Client = Any
"""An ``AsyncTurbopuffer``, whose types know only the attributes ``id`` and ``vector``."""


async def test_documents_are_written_queried_and_deleted(client: Client) -> None:
    ns = client.namespace("demo")
    assert not await ns.exists()

    written = await ns.write(
        upsert_rows=[
            {"id": 1, "vector": [0.7, 0.1], "name": "foo", "public": 1},
            {"id": 2, "vector": [0.2, 0.2], "name": "bar", "public": 0, "tags": ["x"]},
        ],
        distance_metric="cosine_distance",
    )
    assert (written.status, written.rows_affected, written.rows_upserted) == ("OK", 2, 2)

    found = await ns.query(
        rank_by=("vector", "ANN", [0.7, 0.1]),
        top_k=10,
        filters=("And", (("name", "Eq", "foo"), ("public", "Eq", 1))),
        include_attributes=True,
    )
    assert [row.model_dump() for row in found.rows or []] == [
        {"id": 1, "vector": [0.7, 0.1], "$dist": 0.0, "name": "foo", "public": 1}
    ]
    assert found.performance.approx_namespace_size == 2
    assert found.performance.exhaustive_search_count == 2
    assert found.billing.billable_logical_bytes_returned == 8 + 4 + 8 + 3 + 8
    assert isinstance(found.performance.cache_hit_ratio, float)

    assert await ns.exists()
    assert (await ns.metadata()).approx_row_count == 2
    assert (await ns.hint_cache_warm()).message
    assert (await ns.recall()).avg_recall == 1.0
    assert (await ns.delete_all()).status == "OK"
    with pytest.raises(turbopuffer.NotFoundError, match="🤷 namespace 'demo' was not found"):
        await ns.query(rank_by=("id", "asc"), top_k=1)


async def test_python_values_come_back_as_they_went(client: Client) -> None:
    ns = client.namespace("values")
    identity = UUID("00000000-0000-0000-0000-000000000001")
    await ns.write(
        upsert_rows=[{"id": identity, "at": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "f": 1.5}],
        schema={"id": "uuid", "at": "datetime"},
    )

    [row] = (await ns.query(rank_by=("at", "desc"), top_k=1, include_attributes=True)).rows or []

    assert (row.id, row.model_dump()["f"]) == (str(identity), 1.5)
    assert row.model_dump()["at"] == "2024-01-02T03:04:05.000000000Z"


async def test_full_text_and_vectors_fuse(client: Client) -> None:
    ns = client.namespace("hybrid")
    await ns.write(
        upsert_columns={
            "id": ["a", "b", "c"],
            "vector": [[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]],
            "content": ["walrus and otter", "tigers", None],
        },
        distance_metric="euclidean_squared",
        schema={"content": {"type": "string", "full_text_search": {"stemming": True}}},
    )

    answer = await ns.multi_query(
        queries=[
            {"rank_by": ("vector", "ANN", [1.0, 0.0]), "limit": 2},
            {"rank_by": ("content", "BM25", "otters"), "limit": 2},
        ],
        rerank_by=("RRF",),
        limit=5,
    )

    assert [[row.id for row in result.rows or []] for result in answer.results] == [["a", "c"]]


async def test_schema_metadata_and_branches(client: Client) -> None:
    ns = client.namespace("source")
    await ns.write(upsert_rows=[{"id": 1, "hello": "x"}])

    schema = await ns.update_schema(schema={"hello": {"type": "string", "filterable": False}})
    assert schema["hello"].filterable is False
    assert (await ns.update_metadata(pinning=True)).pinning is not None
    assert (await ns.update_metadata(pinning=None, read_only=False)).pinning is None
    branch = client.namespace("branch")
    assert (await branch.branch_from(source_namespace="source")).rows_affected == 1
    started = await client.namespace("copy").start_copy_from(source_namespace="source")
    assert (await client.namespace("copy").poll_copy_from(token=started.token)).status == "finished"
    plan = await ns.explain_query(rank_by=("id", "asc"), top_k=1)
    assert plan.plan_text


async def test_namespaces_are_listed_over_pages(client: Client) -> None:
    for number in range(5):
        await client.namespace(f"n-{number}").write(upsert_rows=[{"id": 1}])

    names = [item.id async for item in client.namespaces(prefix="n-", page_size=2)]

    assert names == [f"n-{number}" for number in range(5)]


def test_the_blocking_client_compresses(service: ServiceProcess) -> None:
    url = f"http://{service.addresses['http']}"
    with Turbopuffer(api_key="any", base_url=url, compression=True, max_retries=0) as client:
        ns = client.namespace("compressed")
        rows: Any = [{"id": i, "vector": [i / 7] * 64, "s": "x" * 100} for i in range(200)]
        ns.write(upsert_rows=rows, distance_metric="cosine_distance")
        found = ns.query(rank_by=("id", "desc"), top_k=3, include_attributes=["s"])
        assert [row.id for row in found.rows or []] == [199, 198, 197]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"rank_by": ("vector", "ANN", [1.0])}, turbopuffer.BadRequestError, "top_k or limit"),
        ({"rank_by": ("id", "up"), "top_k": 1}, turbopuffer.UnprocessableEntityError, "RankInput"),
        (
            {"rank_by": ("id", "asc"), "top_k": 1, "filters": ("no", "Eq", 1)},
            turbopuffer.BadRequestError,
            "filter error in key `no`: attribute not found",
        ),
    ],
)
async def test_errors_are_those_the_client_knows(
    client: Client, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    ns = client.namespace("errors")
    await ns.write(upsert_rows=[{"id": 1, "vector": [1.0]}], distance_metric="cosine_distance")

    with pytest.raises(error, match=text):
        await ns.query(**arguments)


async def test_readers_and_writers_at_once_see_whole_writes(client: Client) -> None:
    ns = client.namespace("busy")
    await ns.write(upsert_rows=[{"id": i, "version": 0} for i in range(20)])

    async def write(version: int) -> None:
        await ns.write(upsert_rows=[{"id": i, "version": version} for i in range(20)])

    async def read() -> None:
        rows = (await ns.query(rank_by=("id", "asc"), top_k=50, include_attributes=True)).rows or []
        assert len(rows) == 20
        assert len({row.model_dump()["version"] for row in rows}) == 1

    async with asyncio.TaskGroup() as group:
        for number in range(60):
            group.create_task(write(number) if number % 2 else read())
