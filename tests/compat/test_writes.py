"""The examples of the page about writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import turbopuffer


def test_one_request_upserts_patches_and_deletes_rows(ns: Any) -> None:
    written = ns.write(
        upsert_rows=[
            {
                "id": 1,
                "vector": [0.1, 0.1],
                "my-string": "one",
                "my-uint": 12,
                "my-bool": True,
                "my-string-array": ["a", "b"],
            },
            {"id": 2, "vector": [0.2, 0.2], "my-string-array": ["b", "d"]},
        ],
        patch_rows=[{"id": 3, "my-bool": True}],
        deletes=[4],
        distance_metric="cosine_distance",
    )
    assert (written.rows_affected, written.rows_upserted, written.rows_patched) == (2, 2, 0)
    found = ns.query(rank_by=("id", "asc"), limit=10, filters=("my-string-array", "Contains", "b"))
    assert [row.id for row in found.rows] == [1, 2]


def test_one_request_upserts_patches_and_deletes_columns(ns: Any) -> None:
    written = ns.write(
        upsert_columns={
            "id": [1, 2, 3, 4],
            "vector": [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3], [0.4, 0.4]],
            "my-string": ["one", None, "three", "four"],
            "my-uint": [12, None, 84, 39],
            "my-bool": [True, None, False, True],
            "my-string-array": [["a", "b"], ["b", "d"], [], ["c"]],
        },
        patch_columns={"id": [5, 6], "my-bool": [True, False]},
        deletes=[7, 8],
        distance_metric="cosine_distance",
    )
    assert (written.rows_affected, written.rows_upserted, written.rows_patched) == (4, 4, 0)
    found = ns.query(
        rank_by=("id", "asc"), limit=10, include_attributes=["my-string", "my-string-array"]
    )
    assert [row.model_dump(exclude_none=True) for row in found.rows] == [
        {"id": 1, "my-string": "one", "my-string-array": ["a", "b"]},
        {"id": 2, "my-string-array": ["b", "d"]},
        {"id": 3, "my-string": "three", "my-string-array": []},
        {"id": 4, "my-string": "four", "my-string-array": ["c"]},
    ]


def test_a_schema_configures_uuids_and_full_text(ns: Any) -> None:
    first, second = "769c134d-07b8-4225-954a-b6cc5ffc320c", "ee1f7c89-a3aa-43c1-8941-c987ee03e7bc"
    ns.write(
        upsert_rows=[
            {
                "id": first,
                "vector": [0.1, 0.1],
                "text": "the fox is quick and brown",
                "string": "fox",
                "permissions": [second, "95cdf8be-98a9-4061-8eeb-2702b6bbcb9e"],
            }
        ],
        distance_metric="cosine_distance",
        schema={
            "id": "uuid",
            "text": {"type": "string", "full_text_search": True},
            "permissions": {"type": "[]uuid"},
        },
    )
    found = ns.query(
        rank_by=("text", "BM25", "quick"), limit=1, filters=("permissions", "Contains", second)
    )
    assert [row.id for row in found.rows] == [first]
    with pytest.raises(turbopuffer.BadRequestError) as refusal:
        ns.query(rank_by=("id", "asc"), limit=1, filters=("text", "Eq", "the fox"))
    assert "not filterable" in str(refusal.value)


def test_a_namespace_has_several_columns_of_vectors(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[
            {
                "id": 1,
                "title_embedding": [0.1, 0.2, 0.3],
                "image_embedding": [0.4, 0.5],
                "title": "hello world",
            },
            {
                "id": 2,
                "title_embedding": [0.4, 0.5, 0.6],
                "image_embedding": [0.7, 0.8],
                "title": "goodbye world",
            },
        ],
        distance_metric="cosine_distance",
        schema={
            "title_embedding": {"type": "[3]f32", "ann": True},
            "image_embedding": {"type": "[2]f16", "ann": True},
        },
    )
    by_title = ns.query(rank_by=("title_embedding", "ANN", [0.1, 0.2, 0.3]), limit=2)
    by_image = ns.query(rank_by=("image_embedding", "ANN", [0.7, 0.8]), limit=2)
    assert (ids(by_title), ids(by_image)) == ([1, 2], [2, 1])


def test_python_values_are_written_as_they_are(ns: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": UUID(int=1), "at": datetime(2024, 1, 2, 3, 4, 5, 678901)},  # noqa: DTZ001 -- as users write
            {"id": UUID(int=2), "at": datetime(2024, 1, 2, tzinfo=UTC)},
        ],
        schema={"id": "uuid", "at": "datetime"},
    )
    found = ns.query(rank_by=("at", "desc"), limit=2, include_attributes=["at"])
    assert [(row.id, row["at"]) for row in found.rows] == [
        ("00000000-0000-0000-0000-000000000001", "2024-01-02T03:04:05.678000000Z"),
        ("00000000-0000-0000-0000-000000000002", "2024-01-02T00:00:00.000000000Z"),
    ]


@pytest.fixture
def books(ns: Any) -> Any:
    ns.write(
        upsert_rows=[
            {"id": 101, "vector": [0.2, 0.8], "title": "LISP Guide (draft)", "version": 2},
            {"id": 102, "vector": [0.4, 0.4], "title": "AI for Practitioners", "version": 5},
        ],
        distance_metric="cosine_distance",
    )
    return ns


def test_a_condition_lets_no_version_go_back(books: Any) -> None:
    written = books.write(
        upsert_rows=[
            {"id": 101, "vector": [0.2, 0.8], "title": "LISP Guide (final)", "version": 3},
            {"id": 102, "vector": [0.4, 0.4], "title": "AI (draft 4)", "version": 4},
            {"id": 103, "vector": [0.6, 0.8], "title": "Database Internals", "version": 1},
        ],
        upsert_condition=("version", "Lt", {"$ref_new": "version"}),
        distance_metric="cosine_distance",
    )
    assert written.rows_affected == 2

    # As the page has it: without a rank_by, rows come in the order of their ids.
    found = books.query(limit=10, include_attributes=["title", "version"])
    assert [(row.id, row["version"]) for row in found.rows] == [(101, 3), (102, 5), (103, 1)]


def test_a_condition_inserts_only_what_is_not_there(books: Any) -> None:
    written = books.write(
        upsert_rows=[
            {"id": 102, "vector": [1.0, 0.0], "version": 9},
            {"id": 104, "vector": [1.0, 0.0], "version": 9},
        ],
        upsert_condition=("id", "Eq", None),
        return_affected_ids=True,
    )
    assert written.upserted_ids == [104]


def test_conditions_see_both_the_old_and_the_new_value(books: Any) -> None:
    newer_or_first = (
        "Or",
        [("updated_at", "Lt", {"$ref_new": "updated_at"}), ("updated_at", "Eq", None)],
    )
    for moment, patched in (("2024-02-01", 2), ("2024-01-01", 0), ("2024-03-01", 2)):
        written = books.write(
            patch_rows=[{"id": at, "updated_at": f"{moment}T00:00:00"} for at in (101, 102, 999)],
            patch_condition=newer_or_first,
            schema={"updated_at": "datetime"},
        )
        assert written.rows_patched == patched


def test_a_delete_is_conditional_too(books: Any, ids: Any) -> None:
    written = books.write(deletes=[101, 102, 999], delete_condition=("version", "Lt", 3))
    assert written.rows_deleted == 1
    assert ids(books.query(rank_by=("id", "asc"), limit=10)) == [102]


@pytest.fixture
def posts(ns: Any) -> Any:
    rows = [(101, "LISP Guide", 10), (102, "AI for Practitioners", 2500), (103, "Rust Basics", 50)]
    ns.write(
        upsert_rows=[
            {"id": at, "vector": [0.2, at / 200], "title": title, "views": views, "status": "live"}
            for at, title, views in rows
        ],
        distance_metric="cosine_distance",
    )
    return ns


def test_rows_are_deleted_by_a_filter(posts: Any, ids: Any) -> None:
    written = posts.write(
        delete_by_filter=("And", [("title", "IGlob", "*guide*"), ("views", "Lte", 1000)])
    )
    assert written.rows_affected == 1
    assert ids(posts.query(rank_by=("id", "asc"), limit=10)) == [102, 103]


def test_rows_are_patched_by_a_filter(posts: Any) -> None:
    written = posts.write(
        patch_by_filter={
            "filters": ("And", [("status", "Eq", "live"), ("views", "Lte", 100)]),
            "patch": {"status": "archived"},
        }
    )
    assert written.rows_affected == 2
    found = posts.query(rank_by=("id", "asc"), include_attributes=["status"], limit=10)
    assert [(row.id, row["status"]) for row in found.rows] == [
        (101, "archived"),
        (102, "live"),
        (103, "archived"),
    ]


def test_filters_of_a_write_run_before_its_rows(posts: Any) -> None:
    written = posts.write(
        delete_by_filter=("views", "Lt", 100),
        delete_by_filter_allow_partial=True,
        upsert_rows=[{"id": 101, "vector": [1.0, 1.0], "title": "Anew", "views": 0}],
        patch_rows=[{"id": 103, "views": 7}],
        return_affected_ids=True,
    )
    assert (written.deleted_ids, written.upserted_ids, written.patched_ids) == (
        [101, 103],
        [101],
        None,
    )
    assert (written.rows_deleted, written.rows_patched) == (2, 0)


def test_an_attribute_gets_and_loses_its_indexes_in_place(posts: Any, ids: Any) -> None:
    posts.write(schema={"title": {"type": "string", "full_text_search": True, "filterable": True}})
    assert ids(posts.query(rank_by=("title", "BM25", "basics"), limit=3)) == [103]
    posts.write(schema={"views": {"type": "int", "filterable": False}})
    with pytest.raises(turbopuffer.BadRequestError):
        posts.query(rank_by=("views", "asc"), limit=3)
    posts.write(schema={"status": {"drop": True}})
    assert "status" not in posts.schema()


def test_sparse_vectors_are_ranked_by_their_dot_product(ns: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": 1, "sparse_vector": {"dim0": 0.5, "dim1": 0.25}},
            {"id": 2, "sparse_vector": {"dim3": 1.0}},
            {"id": 3, "sparse_vector": {"dim7": 2.0}},
        ],
        schema={
            "sparse_vector": {"type": "{}f16", "sparse_knn": {"distance_metric": "dot_product"}}
        },
    )
    found = ns.query(rank_by=("sparse_vector", "SparseKNN", {"dim0": 0.5, "dim3": 0.125}), limit=10)
    assert [(row.id, row["$dist"]) for row in found.rows] == [(1, 0.25), (2, 0.125)]
