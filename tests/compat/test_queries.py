"""The examples of the page about queries, apart from full text."""

from __future__ import annotations

import base64
import struct
from datetime import datetime
from typing import Any

import pytest
import turbopuffer

GUIDES = [
    ("Getting Started", True, "2024-03-02", [0.1, 0.2, 0.3]),
    ("Advanced Features", True, "2024-03-03", [0.1, 0.2, 0.4]),
    ("Draft", False, "2024-03-04", [0.1, 0.2, 0.3]),
    ("Performance Guide", True, "2024-02-24", [0.9, 0.1, 0.1]),
    ("Old News", True, "2023-12-24", [0.9, 0.1, 0.2]),
    ("Roadmap", True, "2024-02-27", [0.9, 0.2, 0.1]),
]
MARCH = datetime(2024, 3, 1)  # noqa: DTZ001 -- as users write it


@pytest.fixture
def guides(ns: Any) -> Any:
    ns.write(
        upsert_rows=[
            {
                "id": at,
                "title": title,
                "public": public,
                "timestamp": f"{day}T00:00:00",
                "vector": v,
            }
            for at, (title, public, day, v) in enumerate(GUIDES, start=1)
        ],
        schema={"timestamp": "datetime"},
        distance_metric="cosine_distance",
    )
    return ns


def test_distances_of_the_squared_euclidean_metric(ns: Any) -> None:
    ns.write(
        upsert_rows=[{"id": 1, "vector": [0.1, 0.1]}, {"id": 2, "vector": [1.1, 1.1]}],
        distance_metric="euclidean_squared",
    )
    found = ns.query(rank_by=("vector", "ANN", [0.1, 0.1]), limit=10)
    assert [(row.id, row["$dist"]) for row in found.rows] == [(1, 0.0), (2, 2.0)]


def test_filters_go_with_a_vector(guides: Any) -> None:
    found = guides.query(
        filters=("And", (("timestamp", "Gte", MARCH), ("public", "Eq", True))),
        rank_by=("vector", "ANN", [0.1, 0.2, 0.3]),
        limit=10,
        include_attributes=["title", "timestamp"],
    )
    assert [(row.id, row["title"], row["timestamp"]) for row in found.rows] == [
        (1, "Getting Started", "2024-03-02T00:00:00.000000000Z"),
        (2, "Advanced Features", "2024-03-03T00:00:00.000000000Z"),
    ]


def test_rows_are_ordered_by_an_attribute(guides: Any, ids: Any) -> None:
    found = guides.query(
        filters=("timestamp", "Lt", MARCH), rank_by=("timestamp", "desc"), limit=1000
    )
    assert ids(found) == [6, 4, 5]
    assert found.rows[0].model_dump(exclude_none=True) == {"id": 6}


def test_rows_are_ordered_by_several_attributes(guides: Any, ids: Any) -> None:
    found = guides.query(rank_by=[("public", "asc"), ("timestamp", "desc")], limit=4, offset=1)
    assert ids(found) == [2, 1, 6, 4]


def test_rows_without_the_attribute_come_first_ascending_and_last_descending(
    ns: Any, ids: Any
) -> None:
    ns.write(upsert_rows=[{"id": 1, "n": 2}, {"id": 2}, {"id": 3, "n": 1}])
    assert ids(ns.query(rank_by=("n", "asc"), limit=10)) == [2, 3, 1]
    assert ids(ns.query(rank_by=("n", "desc"), limit=10)) == [1, 3, 2]


def test_a_lookup_orders_by_id(guides: Any, ids: Any) -> None:
    found = guides.query(
        filters=("title", "In", ["Roadmap", "Draft"]), rank_by=("id", "asc"), top_k=9
    )
    assert ids(found) == [3, 6]


@pytest.fixture
def shirts(ns: Any) -> Any:
    rows: list[tuple[int, str | None, str, list[str], int]] = [
        (1, "red", "L", ["cotton", "red"], 9),
        (2, "blue", "XL", ["wool"], 7),
        (3, "red", "L", ["cotton"], 8),
        (4, "red", "S", [], 3),
        (5, None, "L", ["wool", "cotton"], 10),
    ]
    ns.write(
        upsert_rows=[
            {"id": at, "color": color, "size": size, "tags": tags, "cool_score": score}
            for at, color, size, tags, score in rows
        ]
    )
    return ns


def test_rows_are_counted_and_summed(shirts: Any) -> None:
    count = shirts.query(aggregate_by={"n": ("Count",)}, filters=("cool_score", "Gt", 7))
    total = shirts.query(aggregate_by={"total": ("Sum", "cool_score")}, filters=("id", "Gte", 2))
    assert (count.aggregations, total.aggregations) == ({"n": 3}, {"total": 28})
    assert count.rows is None


def test_groups_come_in_the_order_of_their_keys(shirts: Any) -> None:
    found = shirts.query(aggregate_by={"n": ("Count",)}, group_by=["color", "size"])
    assert list(found.aggregation_groups) == [
        {"color": None, "size": "L", "n": 1},
        {"color": "blue", "size": "XL", "n": 1},
        {"color": "red", "size": "L", "n": 2},
        {"color": "red", "size": "S", "n": 1},
    ]
    first = shirts.query(aggregate_by={"n": ("Count",)}, group_by=["color", "size"], top_k=2)
    assert len(first.aggregation_groups) == 2


def test_groups_of_each_item_of_an_array(shirts: Any) -> None:
    found = shirts.query(
        aggregate_by={"n": ("Count",)}, group_by=[{"tag": ("ForEachUnique", "tags")}]
    )
    assert [(group["tag"], group["n"]) for group in found.aggregation_groups] == [
        ("cotton", 3),
        ("red", 1),
        ("wool", 2),
    ]
    both = shirts.query(
        aggregate_by={"n": ("Count",)}, group_by=[{"tag": ("ForEachUnique", "tags")}, "size"]
    )
    assert [(group["tag"], group["size"]) for group in both.aggregation_groups] == [
        ("cotton", "L"),
        ("red", "L"),
        ("wool", "L"),
        ("wool", "XL"),
    ]


def test_no_more_than_so_many_rows_of_each_kind(shirts: Any, ids: Any) -> None:
    found = shirts.query(
        rank_by=("cool_score", "desc"),
        limit={"per": {"attributes": ["color"], "limit": 1}, "total": 50},
        include_attributes=["color"],
    )
    assert ids(found) == [5, 1, 2]


def test_several_queries_see_one_state(guides: Any, ids: Any) -> None:
    found = guides.multi_query(
        queries=[
            {"rank_by": ("vector", "ANN", [0.9, 0.1, 0.1]), "limit": 1},
            {"rank_by": ("timestamp", "asc"), "limit": 2, "filters": ("public", "Eq", True)},
            {"aggregate_by": {"n": ("Count",)}},
        ],
        consistency={"level": "strong"},
    )
    assert [ids(part) for part in found.results] == [[4], [5, 4], []]
    assert found.results[2].aggregations == {"n": 6}


def test_pages_advance_by_id(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[{"id": at, "timestamp": "2024-06-01T00:00:00"} for at in range(1, 24)],
        schema={"timestamp": "datetime"},
    )
    seen: list[int] = []
    last_id = None
    while True:
        filters: list[Any] = [("timestamp", "Gte", datetime(2024, 1, 1))]  # noqa: DTZ001
        if last_id is not None:
            filters.append(("id", "Gt", last_id))
        page = ns.query(rank_by=("id", "asc"), limit=10, filters=("And", filters))
        seen += ids(page)
        if len(page.rows) < 10:
            break
        last_id = page.rows[-1].id
    assert seen == list(range(1, 24))


def test_an_export_starts_without_a_filter(ns: Any) -> None:
    ns.write(upsert_rows=[{"id": f"row-{at}", "n": at} for at in range(5)])
    exported: list[Any] = []
    last_id = None
    while True:
        page = ns.query(
            rank_by=("id", "asc"),
            top_k=2,
            filters=("id", "Gt", last_id) if last_id is not None else turbopuffer.omit,
            include_attributes=["n"],
        )
        exported += [(row.id, row["n"]) for row in page.rows]
        if len(page.rows) < 2:
            break
        last_id = page.rows[-1].id
    assert exported == [(f"row-{at}", at) for at in range(5)]


def test_rows_already_shown_are_left_out(guides: Any, ids: Any) -> None:
    ranked: dict[str, Any] = {"rank_by": ("vector", "ANN", [0.9, 0.1, 0.1]), "limit": 2}
    first = ids(guides.query(**ranked))
    second = ids(guides.query(**ranked, filters=("id", "NotIn", first)))
    assert (len({*first, *second}), len(second)) == (4, 2)
    assert ids(guides.query(rank_by=ranked["rank_by"], limit=2, offset=2)) == second


def test_an_exact_search_is_bounded_by_a_filter(guides: Any, ids: Any) -> None:
    found = guides.query(
        rank_by=("vector", "kNN", [0.9, 0.1, 0.1]), filters=("public", "Eq", True), limit=3
    )
    assert ids(found) == [4, 5, 6]
    with pytest.raises(turbopuffer.BadRequestError) as refusal:
        guides.query(rank_by=("vector", "kNN", [0.9, 0.1, 0.1]), limit=3)
    assert "kNN requires filters" in str(refusal.value)


def test_scores_of_attributes_and_distances_in_time(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": 1, "title": "quick fox", "clicks": 3, "bad": 9, "at": "2026-02-03T12:00:00"},
            {"id": 2, "title": "quick quick fox", "clicks": 90, "bad": 0, "at": "2026-01-01"},
            {"id": 3, "title": "slow whale", "clicks": 500, "bad": 1, "at": "2026-02-01"},
        ],
        schema={"title": {"type": "string", "full_text_search": True}, "at": "datetime"},
    )
    text = ("title", "BM25", "quick fox")
    clicks, bad = ("Attribute", "clicks"), ("Attribute", "bad")
    age = ("Dist", ("Attribute", "at"), "2026-02-03T12:13:14")
    ranks: dict[str, tuple[Any, list[int]]] = {
        "plain": (("Sum", [text, ("Max", 0, clicks)]), [3, 2, 1]),
        "listed": (("Sum", [text, ("Max", [clicks, 0])]), [3, 2, 1]),
        "saturated": (
            ("Sum", [text, ("Product", 1.7, ("Saturate", clicks, {"midpoint": 100}))]),
            [2, 3, 1],
        ),
        "decayed": (("Product", ("Decay", bad, {"midpoint": 2}), 3), [2, 3, 1]),
        "recent": (("Sum", [text, ("Decay", age, {"midpoint": "6h"})]), [1, 2, 3]),
        "boosted": (
            ("Sum", [text, ("Product", 5.0, ("title", "ContainsAllTokens", "whale"))]),
            [3, 2, 1],
        ),
    }
    for label, (rank_by, expected) in ranks.items():
        assert ids(ns.query(rank_by=rank_by, limit=10)) == expected, label


def test_vectors_are_shown_as_numbers_or_packed(ns: Any) -> None:
    ns.write(upsert_rows=[{"id": 1, "vector": [0.1, 0.7]}], distance_metric="cosine_distance")
    plain = ns.query(rank_by=("id", "asc"), limit=1, include_attributes=["vector"])
    packed = ns.query(
        rank_by=("id", "asc"), limit=1, include_attributes=["vector"], vector_encoding="base64"
    )
    assert plain.rows[0].vector == [0.1, 0.7]
    assert struct.unpack("<2f", base64.b64decode(packed.rows[0].vector)) == pytest.approx(
        (0.1, 0.7)
    )


def test_computed_attributes_stand_beside_the_stored_ones(guides: Any) -> None:
    found = guides.query(
        rank_by=("id", "asc"),
        limit=1,
        compute_attributes={"apart": ("vector", "VectorDist", [0.1, 0.2, 0.3])},
        include_attributes=["title"],
    )
    assert (found.rows[0]["title"], found.rows[0]["apart"]) == ("Getting Started", 0.0)


def test_rows_of_several_vectors_are_matched_late(ns: Any, ids: Any) -> None:
    ns.write(
        upsert_rows=[
            {"id": 1, "tokens": [[1.0, 0.0], [0.0, 1.0]]},
            {"id": 2, "tokens": [[0.7, 0.7]]},
        ],
        schema={"tokens": {"type": "[][2]f32", "ann": True}},
        distance_metric="cosine_distance",
    )
    assert ids(ns.query(rank_by=("tokens", "ANN", [[1.0, 0.0], [0.0, 1.0]]), limit=2)) == [1, 2]


def test_a_query_says_what_it_cost(guides: Any) -> None:
    found = guides.query(
        rank_by=("vector", "ANN", [0.1, 0.2, 0.3]), limit=2, consistency={"level": "eventual"}
    )
    assert found.billing.billable_logical_bytes_queried >= 256_000_000
    assert found.billing.billable_logical_bytes_returned == 2 * (8 + 4)
    assert isinstance(found.performance.cache_hit_ratio, float)
    assert found.performance.server_total_ms > 0
    assert (found.performance.approx_namespace_size, found.performance.exhaustive_search_count) == (
        6,
        6,
    )
