"""The quickstart, the vector and testing guides, and the README of the Python client."""

from __future__ import annotations

from typing import Any

import pytest
import turbopuffer
from turbopuffer import AsyncTurbopuffer, DefaultAioHttpClient, NotFoundError, Turbopuffer

ANIMALS: list[Any] = [
    {"id": 1, "vector": [0.1, 0.9], "category": "mammal", "public": 1, "text": "walrus narwhal"},
    {
        "id": 2,
        "vector": [0.8, 0.3],
        "category": "fish",
        "public": 0,
        "text": "pufferfish clownfish swordfish",
    },
]
TEXT: Any = {"text": {"type": "string", "full_text_search": True}}


@pytest.fixture
def animals(ns: Any) -> Any:
    ns.write(upsert_rows=ANIMALS, distance_metric="cosine_distance", schema=TEXT)
    return ns


def test_the_nearest_row_that_a_filter_keeps(animals: Any) -> None:
    found = animals.query(
        rank_by=("vector", "ANN", [0.2, 0.8]),
        limit=10,
        filters=("And", (("category", "Eq", "mammal"), ("public", "Eq", 1))),
        include_attributes=["category"],
    )
    assert [(row.id, row["category"]) for row in found.rows] == [(1, "mammal")]


def test_a_full_text_score_is_the_documented_number(animals: Any) -> None:
    found = animals.query(
        rank_by=("text", "BM25", "quick walrus"), limit=10, filters=("category", "Eq", "mammal")
    )
    assert [(row.id, row["$dist"]) for row in found.rows] == [(1, 0.7549128)]


def test_a_cosine_distance_is_the_documented_number(ns: Any) -> None:
    ns.write(
        upsert_rows=[{"id": 1, "vector": [0.1, 0.2]}, {"id": 2, "vector": [0.3, 0.4]}],
        distance_metric="cosine_distance",
    )
    found = ns.query(rank_by=("vector", "ANN", [0.15, 0.22]), top_k=10)
    assert [row.id for row in found.rows] == [2, 1]
    documented = pytest.approx([0.001016080379486084, 0.009067952632904053], rel=1e-4)
    assert [row["$dist"] for row in found.rows] == documented


def test_rows_are_replaced_and_deleted_by_id(animals: Any, ids: Any) -> None:
    animals.write(
        upsert_rows=[
            {"id": number, "vector": [0.5, 0.5], "name": "foo", "public": 1} for number in (1, 2, 3)
        ],
        distance_metric="cosine_distance",
    )
    animals.write(deletes=[1, 3])

    found = animals.query(rank_by=("id", "asc"), limit=10, include_attributes=["name", "category"])
    assert ids(found) == [2]
    assert found.rows[0].model_dump(exclude_none=True) == {"id": 2, "name": "foo"}


def test_the_vector_guide_finds_what_is_alike(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": 1, "vector": [0.9, 0.1], "text": "A cat sleeping", "category": "animal"},
            {"id": 2, "vector": [0.8, 0.3], "text": "A kitten playing", "category": "animal"},
            {"id": 3, "vector": [0.1, 0.9], "text": "An airplane", "category": "vehicle"},
        ],
        distance_metric="cosine_distance",
    )
    found = ns.query(
        rank_by=("vector", "ANN", [1.0, 0.1]), limit=2, include_attributes=["text", "category"]
    )
    assert ids(found) == [1, 2]
    assert [row["category"] for row in found.rows] == ["animal", "animal"]


def test_the_vector_guide_combines_conditions(ns: Any, ids: Any) -> None:
    kinds = [("red", "car", 50000), ("blue", "car", 35000), ("red", "truck", 80000)]
    ns.write(
        upsert_rows=[
            {"id": at, "vector": [1.0, at / 10], "color": color, "type": kind, "price": price}
            for at, (color, kind, price) in enumerate([*kinds, ("blue", "truck", 45000)], start=1)
        ],
        distance_metric="cosine_distance",
    )
    found = ns.query(
        rank_by=("vector", "ANN", [1.0, 0.0]),
        limit=10,
        filters=("And", (("price", "Lt", 60000), ("color", "Eq", "blue"))),
        include_attributes=["price"],
    )
    assert ids(found) == [2, 4]


def test_equally_near_rows_come_in_the_order_of_their_ids(ns: Any) -> None:
    ns.write(
        upsert_rows=[{"id": 2, "vector": [2, 2]}, {"id": 1, "vector": [1, 1]}],
        distance_metric="cosine_distance",
    )
    found = ns.query(rank_by=("vector", "ANN", [1.1, 1.1]), limit=10)
    assert found.rows[0].id == 1


def test_a_test_cleans_up_whatever_it_made(ns: Any) -> None:
    """The testing guide's fixture: one way says that there was nothing, the other cleaned up."""
    for rows in ([{"id": 1}], []):
        if rows:
            ns.write(upsert_rows=rows)
        try:
            ns.delete_all()
        except NotFoundError:
            assert not rows
        assert not ns.exists()


async def test_the_asynchronous_client_is_used_alike(base_url: str, name: str) -> None:
    async with AsyncTurbopuffer(api_key="tpuf_any", base_url=base_url) as client:
        namespace = client.namespace(name)
        await namespace.write(upsert_rows=ANIMALS, distance_metric="cosine_distance", schema=TEXT)
        nearest = await namespace.query(
            rank_by=("vector", "ANN", [0.2, 0.8]),
            top_k=10,
            filters=("And", (("category", "Eq", "mammal"), ("public", "Eq", 1))),
        )
        by_text = await namespace.query(rank_by=("text", "BM25", "quick walrus"), top_k=10)
        assert [[row.id for row in found.rows or []] for found in (nearest, by_text)] == [[1], [1]]


async def test_the_asynchronous_client_runs_on_aiohttp(base_url: str, name: str) -> None:
    async with AsyncTurbopuffer(
        api_key="tpuf_any", base_url=base_url, http_client=DefaultAioHttpClient()
    ) as client:
        written = await client.namespace(name).write(
            distance_metric="cosine_distance",
            upsert_rows=[
                {"id": "2108ed60-6851-49a0-9016-8325434f3845", "vector": [0.1, 0.2]},
            ],
        )
        assert written.rows_affected == 1


def test_bodies_and_answers_may_be_compressed(base_url: str, name: str) -> None:
    with Turbopuffer(api_key="tpuf_any", base_url=base_url, compression=True) as client:
        namespace = client.namespace(name)
        notes: list[Any] = [{"id": at, "note": f"number {at} " * 30} for at in range(200)]
        newer: Any = ("id", "Lte", {"$ref_new": "id"})
        written = namespace.write(
            upsert_rows=notes, upsert_condition=newer, return_affected_ids=True
        )
        assert written.upserted_ids == [note["id"] for note in notes]
        found = namespace.query(rank_by=("id", "asc"), limit=200, include_attributes=["note"])
        assert [(row.id, row["note"]) for row in found.rows or []] == [
            (note["id"], note["note"]) for note in notes
        ]


def test_a_client_that_reports_its_timings_is_served(base_url: str, name: str) -> None:
    with Turbopuffer(api_key="tpuf_any", base_url=base_url, telemetry=True) as client:
        namespace = client.namespace(name)
        namespace.write(upsert_rows=[{"id": 1}])
        for _ in range(20):
            assert namespace.query(rank_by=("id", "asc"), limit=1).rows


def test_the_raw_answer_is_json_with_its_headers(tpuf: Turbopuffer, name: str) -> None:
    tpuf.namespace(name).write(upsert_rows=[{"id": 1}])
    raw = tpuf.with_raw_response.namespaces(prefix=name)
    assert raw.headers.get("content-type") == "application/json"
    assert [found.id for found in raw.parse().namespaces] == [name]


def test_a_base_url_may_come_from_the_environment(
    base_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURBOPUFFER_BASE_URL", base_url)
    monkeypatch.setenv("TURBOPUFFER_API_KEY", "tpuf_any")
    with turbopuffer.Turbopuffer() as client:
        assert client.namespace(name).exists() is False
