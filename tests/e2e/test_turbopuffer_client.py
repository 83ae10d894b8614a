"""The unchanged official Turbopuffer client against the running system."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import turbopuffer
from turbopuffer import NotFoundError, Turbopuffer

from layer_testing.system import LocalSystem

GATEWAY_COUNTS = (1, 3)

Namespace = Any
"""The client's namespace, whose parameters are typed without a row's own attributes."""

ROWS: list[Any] = [
    {"id": 1, "vector": [0.1, 0.2], "title": "a walk in the wood", "year": 1999},
    {"id": 2, "vector": [0.2, 0.1], "title": "the sea, the walk", "year": 2001, "gone": None},
    {"id": 3, "vector": [-0.1, 0.9], "title": "bread", "year": 2005},
]
SCHEMA: dict[str, Any] = {"title": {"type": "string", "full_text_search": True}}


@pytest.fixture
def books(client: Turbopuffer, name: str) -> Namespace:
    namespace = client.namespace(name)
    namespace.write(upsert_rows=ROWS, distance_metric="cosine_distance", schema=SCHEMA)
    return namespace


def ids(response: turbopuffer.types.NamespaceQueryResponse) -> list[object]:
    return [row.id for row in response.rows or []]


def test_rows_are_found_by_vector(books: Namespace) -> None:
    found = books.query(rank_by=("vector", "ANN", [0.1, 0.2]), top_k=2, include_attributes=True)
    assert ids(found) == [1, 3]


def test_rows_are_found_by_text(books: Namespace) -> None:
    assert set(ids(books.query(rank_by=("title", "BM25", "walk"), limit=5))) == {1, 2}


def test_rows_are_ordered_by_attribute_and_filtered(
    books: Namespace,
) -> None:
    found = books.query(rank_by=("year", "desc"), limit=5, filters=("year", "Gt", 1999))
    assert ids(found) == [3, 2]


def test_aggregations_pass_through(books: Namespace) -> None:
    found = books.query(aggregate_by={"n": ("Count",)})
    assert found.aggregations == {"n": 3}


def test_several_queries_pass_through(books: Namespace) -> None:
    found = books.multi_query(
        queries=[
            {"rank_by": ("vector", "ANN", [0.1, 0.2]), "top_k": 1},
            {"rank_by": ("title", "BM25", "bread"), "top_k": 1},
        ]
    )
    assert [[row.id for row in result.rows or []] for result in found.results] == [[1], [3]]


def test_columns_patches_and_deletes_are_written(
    books: Namespace,
) -> None:
    books.write(upsert_columns={"id": [4, 5], "vector": [[1.0, 0.0], [0.0, 1.0]], "year": [1, 2]})
    books.write(patch_rows=[{"id": 4, "year": 7}])
    written = books.write(deletes=[5], return_affected_ids=True)
    assert written.rows_deleted == 1
    found = books.query(rank_by=("id", "asc"), limit=10, include_attributes=["year"])
    assert [(row.id, row["year"]) for row in found.rows or []][-1] == (4, 7)


def test_a_conditional_write_applies_to_some_rows(
    books: Namespace,
) -> None:
    written = books.write(
        upsert_rows=[
            {"id": 1, "vector": [0.3, 0.3], "year": 2020},
            {"id": 3, "vector": [0.3, 0.3], "year": 2000},
        ],
        upsert_condition=("year", "Lt", {"$ref_new": "year"}),
    )
    assert written.rows_upserted == 1


def test_writes_by_filter(books: Namespace) -> None:
    assert books.write(delete_by_filter=("year", "Lte", 2001)).rows_deleted == 2
    patched = books.write(patch_by_filter={"filters": ("id", "Eq", 3), "patch": {"year": 1}})
    assert patched.rows_patched == 1


def test_namespaces_are_described(client: Turbopuffer, books: Namespace, name: str) -> None:
    assert name in [listed.id for listed in client.namespaces(prefix="test-")]
    assert "year" in books.schema()
    assert books.metadata().approx_row_count == 3
    assert books.exists()
    assert books.hint_cache_warm().status in {"ACCEPTED", "OK"}
    books.update_schema(schema={"year": {"type": "int", "filterable": True}})


def test_recall_and_explain_pass_through(books: Namespace) -> None:
    assert books.recall(num=1, top_k=1).avg_recall == 1.0
    assert books.explain_query(rank_by=("vector", "ANN", [0.1, 0.2]), top_k=1).plan_text


def test_a_deleted_namespace_is_gone(
    books: Namespace,
) -> None:
    books.delete_all()
    assert not books.exists()
    with pytest.raises(NotFoundError) as refusal:
        books.query(rank_by=("id", "asc"), limit=1)
    assert "was not found" in str(refusal.value)


def test_compressed_requests_are_read(system: LocalSystem, name: str) -> None:
    rows: list[Any] = [{"id": at, "note": "long text " * 20} for at in range(100)]
    with Turbopuffer(api_key="any", base_url=system.url, compression=True) as client:
        namespace = client.namespace(name)
        assert namespace.write(upsert_rows=rows).rows_upserted == 100
        assert len(namespace.query(rank_by=("id", "asc"), limit=100).rows or []) == 100


async def test_the_asynchronous_client_works(system: LocalSystem, name: str) -> None:
    async with turbopuffer.AsyncTurbopuffer(api_key="any", base_url=system.url) as client:
        namespace = client.namespace(name)
        await namespace.write(upsert_rows=ROWS, distance_metric="cosine_distance")
        found = await namespace.query(rank_by=("vector", "ANN", [0.1, 0.2]), top_k=1)
        assert [row.id for row in found.rows or []] == [1]


def test_the_answers_equal_those_of_the_store(
    system: LocalSystem, books: Namespace, name: str
) -> None:
    ways: list[Any] = [
        ("vector", "ANN", [0.3, 0.1]),
        ("title", "BM25", "the walk"),
        ("year", "asc"),
    ]
    with Turbopuffer(api_key="any", base_url=system.store_url) as client:
        direct = client.namespace(name)
        for rank_by in ways:
            ours = books.query(rank_by=rank_by, limit=3, include_attributes=True)
            theirs = direct.query(rank_by=rank_by, limit=3, include_attributes=True)
            assert [row.model_dump() for row in ours.rows or []] == [
                row.model_dump() for row in theirs.rows or []
            ]


def test_vectors_that_were_sent_packed_serve_as_examples(
    system: LocalSystem, books: Namespace, name: str
) -> None:
    books.write(upsert_rows=[{"id": 9, "vector": [-0.1, 0.8]}])
    answer = httpx.post(
        f"{system.url}/v2/namespaces/{name}/query",
        json={"nearest_to_id": [9], "top_k": 2},
        headers={"authorization": "Bearer any"},
    )
    assert [row["id"] for row in answer.json()["rows"]] == [9, 3]


def test_u64_ids_survive(client: Turbopuffer, name: str) -> None:
    largest = 2**64 - 1
    namespace = client.namespace(name)
    row: Any = {"id": largest, "n": 2**62}
    namespace.write(upsert_rows=[row])
    found = namespace.query(rank_by=("id", "asc"), limit=1, include_attributes=True)
    assert [(row.id, row["n"]) for row in found.rows or []] == [(largest, 2**62)]
