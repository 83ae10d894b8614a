from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.recall import parse_recall_request
from layer_vectorstore.domain.vectors import Metric, distances, shortest

COSINE = {"distance_metric": "cosine_distance"}
EUCLIDEAN = {"distance_metric": "euclidean_squared"}


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@settings(max_examples=300, deadline=None)
@given(
    npst.arrays(
        np.float32,
        st.integers(1, 20),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
    )
)
def test_floats_show_as_the_shortest_decimal_of_32_bits(values: Any) -> None:
    expected = [float(str(value)) for value in values]

    assert shortest(values).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(Metric)), st.integers(1, 20))
def test_nearest_neighbours_are_those_of_brute_force(
    new_store: Callable[..., Any], seed: int, metric: Metric, limit: int
) -> None:
    generator = np.random.default_rng(seed)
    # Few distinct components, so that there are many ties.
    vectors = generator.integers(-1, 2, size=(60, 3)).astype(np.float32)
    query = generator.integers(-1, 2, size=3).astype(np.float32)
    store = new_store()
    store.write(
        {
            "distance_metric": metric,
            "upsert_columns": {"id": list(range(60)), "vector": vectors.tolist()},
        }
    )

    body = {"rank_by": ["vector", "ANN", query.tolist()], "limit": limit}
    rows = store.query(body)["rows"]

    apart = distances(vectors, query, metric)
    order = sorted(range(60), key=lambda i: (apart[i], i))[:limit]
    assert [row["id"] for row in rows] == order


def test_choosing_candidates_loses_none_and_keeps_ties_in_order(new_store: Any) -> None:
    generator = np.random.default_rng(5)
    vectors = np.repeat(generator.normal(size=(1500, 16)).astype(np.float32), 4, axis=0)
    ids = generator.permutation(len(vectors))
    for metric in Metric:
        store = new_store()
        columns = {"id": ids.tolist(), "vector": [packed(*vector) for vector in vectors]}
        columns["part"] = [i % 10 for i in range(len(vectors))]
        store.write({"distance_metric": metric, "upsert_columns": columns})
        query = vectors[17] + 0.1
        apart = distances(vectors, query, metric)
        for wanted in (None, ["part", "Eq", 3], ["part", "Lt", 8]):
            kept = [
                i
                for i in range(len(vectors))
                if wanted is None or (i % 10 == 3 if wanted[1] == "Eq" else i % 10 < 8)
            ]
            expected = sorted(kept, key=lambda i: (apart[i], ids[i]))[:10]
            rank = ["vector", "ANN", query.tolist()]
            rows = store.query({"rank_by": rank, "limit": 10, "filters": wanted})["rows"]
            assert [row["id"] for row in rows] == [ids[i] for i in expected]


@pytest.mark.parametrize("size", [1e-25, 1e-15, 1.0, 1e20])
def test_tiny_and_huge_vectors_have_a_direction_too(store: Any, size: float) -> None:
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(3000, 4)).tolist()
    columns = {"id": list(range(3001)), "vector": [*vectors, [size, 0, 0, 0]]}
    store.write({"upsert_columns": columns, **COSINE})

    for length in (1e-25, 1.0, 1e20):
        rank = ["vector", "ANN", [length, 0, 0, 0]]
        [row] = store.query({"rank_by": rank, "limit": 1})["rows"]
        assert row == {"id": 3000, "$dist": 0.0}


def test_distances_are_those_of_the_contract(store: Any) -> None:
    store.upsert({"id": 1, "vector": [1.0, 0.0]}, {"id": 2, "vector": [0.0, 2.0]}, **COSINE)
    found = store.query({"rank_by": ["vector", "ANN", [3.0, 0.0]], "limit": 2})["rows"]
    assert found == [{"id": 1, "$dist": 0.0}, {"id": 2, "$dist": 1.0}]

    rows = [{"id": 1, "vector": [1, 2]}]
    store.write({"upsert_rows": rows, **EUCLIDEAN}, name="other")
    body = {"rank_by": ["vector", "ANN", [4, 6]], "limit": 1}
    assert store.query(body, name="other")["rows"] == [{"id": 1, "$dist": 25.0}]


def test_vectors_come_as_arrays_and_base64_in_rows_columns_and_queries(store: Any) -> None:
    store.upsert({"id": 1, "vector": packed(0.7, 0.1)}, {"id": 2, "vector": [0.5, 1]}, **COSINE)
    store.write({"upsert_columns": {"id": [3, 4], "vector": [packed(1, 2), packed(3, 4)]}})
    store.write({"upsert_columns": {"id": [5, 6], "vector": packed(5, 6, 7, 8)}})

    rows = store.rows(include_attributes=["vector"])
    assert [row["vector"] for row in rows] == [
        [0.7, 0.1],
        [0.5, 1.0],
        [1.0, 2.0],
        [3.0, 4.0],
        [5.0, 6.0],
        [7.0, 8.0],
    ]
    encoded = store.rows(include_attributes=["vector"], vector_encoding="base64")
    assert encoded[0]["vector"] == packed(0.7, 0.1)
    ranked = store.query({"rank_by": ["vector", "ANN", packed(0.7, 0.1)], "limit": 1})
    assert ranked["rows"][0]["id"] == 1


def test_half_precision_keeps_rounded_values(store: Any) -> None:
    schema = {"vector": {"type": "[2]f16", "ann": True}}
    store.upsert({"id": 1, "vector": [0.1, 1000.3]}, schema=schema, **EUCLIDEAN)

    assert store.rows()[0]["vector"] == [0.099975586, 1000.5]
    with pytest.raises(RefusedError, match="out of the range"):
        store.upsert({"id": 2, "vector": [1e6, 0]})


def test_two_vector_columns_are_searched_apart(store: Any) -> None:
    schema = {"other": {"type": "[1]f32", "ann": True}}
    store.upsert(
        {"id": 1, "vector": [1, 0], "other": [5]},
        {"id": 2, "vector": [0, 1], "other": [1]},
        schema=schema,
        **EUCLIDEAN,
    )

    by_other = store.query({"rank_by": ["other", "ANN", [0]], "limit": 2})["rows"]
    assert [row["id"] for row in by_other] == [2, 1]
    with pytest.raises(RefusedError, match="must have the vector attribute 'other'"):
        store.upsert({"id": 3, "vector": [1, 0]})


def test_late_interaction_sums_the_nearest_of_each_query_vector(store: Any) -> None:
    schema = {"tokens": {"type": "[][2]f32", "ann": True}}
    store.upsert(
        {"id": 1, "tokens": [[1, 0], [0, 1]]},
        {"id": 2, "tokens": [[1, 0]]},
        schema=schema,
        **EUCLIDEAN,
    )

    rows = store.query({"rank_by": ["tokens", "ANN", [[1, 0], [0, 1]]], "limit": 5})["rows"]

    assert rows == [{"id": 1, "$dist": 0.0}, {"id": 2, "$dist": 2.0}]
    assert store.rows()[0]["tokens"] == [[1.0, 0.0], [0.0, 1.0]]


def test_sparse_vectors_rank_by_dot_product(store: Any) -> None:
    schema = {"sv": {"type": "{}f16", "sparse_knn": {"distance_metric": "dot_product"}}}
    store.upsert(
        {"id": 1, "sv": {"a": 1, "b": 2}}, {"id": 2, "sv": {"b": 3}}, {"id": 3}, schema=schema
    )

    rows = store.query({"rank_by": ["sv", "SparseKNN", {"a": 10, "b": 1}], "limit": 5})["rows"]

    assert rows == [{"id": 1, "$dist": 12.0}, {"id": 2, "$dist": 3.0}]
    assert store.rows()[0]["sv"] == {"a": 1.0, "b": 2.0}


def test_scores_beyond_32_bits_show_as_the_largest(store: Any) -> None:
    schema = {"s": {"type": "{}f16", "sparse_knn": {"distance_metric": "dot_product"}}}
    store.upsert({"id": 1, "s": {"a": 1}}, {"id": 2, "s": {"a": 2}}, schema=schema)
    rank = ["Product", 1e308, ["s", "SparseKNN", {"a": 1e308}]]

    rows = store.query({"rank_by": rank, "limit": 2, "compute_attributes": {"c": rank}})["rows"]

    largest = 3.4028235e38
    assert rows == [{"id": i, "$dist": largest, "c": largest} for i in (1, 2)]


def test_knn_is_exact_over_a_filter_and_needs_one(store: Any) -> None:
    store.upsert({"id": 1, "vector": [1], "n": 1}, {"id": 2, "vector": [2], "n": 2}, **EUCLIDEAN)
    body = {"rank_by": ["vector", "kNN", [1]], "limit": 5}

    assert store.query(body | {"filters": ["n", "Gt", 1]})["rows"] == [{"id": 2, "$dist": 1.0}]
    with pytest.raises(RefusedError, match="kNN requires filters"):
        store.query(body)


def test_distances_to_another_vector_can_be_computed(store: Any) -> None:
    store.upsert({"id": 1, "vector": [1, 2]}, **EUCLIDEAN)
    body = {
        "rank_by": ["id", "asc"],
        "limit": 1,
        "compute_attributes": {"d": ["vector", "VectorDist", [1, 0]]},
    }

    assert store.query(body)["rows"] == [{"id": 1, "d": 4.0}]


def test_recall_of_an_exact_search_is_one(store: Any) -> None:
    rows = [{"id": i, "vector": [i, 1], "n": i % 2} for i in range(20)]
    store.upsert(*rows, **EUCLIDEAN)
    body = {"num": 3, "top_k": 2, "filters": ["n", "Eq", 1], "include_ground_truth": True}
    found = store.queries.recall("ns", parse_recall_request(body))

    assert (found["avg_recall"], found["avg_ann_count"]) == (1.0, 2.0)
    assert len(found["ground_truth"]) == 3
    for truth in found["ground_truth"]:
        assert truth["nearest_neighbors"][0]["$dist"] == 0.0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"upsert_rows": [{"id": 2, "vector": [1]}]}, "dimension mismatch"),
        ({"upsert_rows": [{"id": 2, "vector": "!!!!"}]}, "invalid vector"),
        ({"upsert_rows": [{"id": 2, "vector": [1, None]}]}, "invalid vector"),
        ({"upsert_rows": [{"id": 2, "vector": [1e300, 0]}]}, "invalid vector"),
        ({"upsert_rows": [{"id": 2, "vector": packed(float("nan"), 0)}]}, "invalid vector"),
        ({"upsert_rows": [{"id": 2}]}, "must have the vector attribute"),
        ({"upsert_rows": [{"id": 2, "vector": None}]}, "must have the vector attribute"),
        ({"patch_rows": [{"id": 1, "vector": [1, 2]}]}, "patching vectors"),
        (
            {"upsert_rows": [], "distance_metric": "euclidean_squared"},
            "💔 distance metric mismatch, expected cosine_distance, got euclidean_squared",
        ),
    ],
)
def test_wrong_vectors_are_refused(store: Any, body: dict[str, Any], message: str) -> None:
    store.upsert({"id": 1, "vector": [1, 2]}, **COSINE)

    with pytest.raises(RefusedError) as raised:
        store.write(body)

    assert message in raised.value.message
    assert store.ids() == [1]


def test_a_first_vector_needs_a_metric_and_an_empty_namespace(store: Any) -> None:
    with pytest.raises(RefusedError, match="distance_metric must be specified"):
        store.upsert({"id": 1, "vector": [1]})
    store.upsert({"id": 1})
    with pytest.raises(RefusedError, match="Vector provided for namespace without vector"):
        store.upsert({"id": 2, "vector": [1]}, **COSINE)
