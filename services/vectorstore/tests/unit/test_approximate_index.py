from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from layer_vectorstore.domain.query import Query
from layer_vectorstore.domain.query_parsing import parse_query, parse_query_request
from layer_vectorstore.domain.ranking import ByVector
from layer_vectorstore.domain.recall import parse_recall_request
from layer_vectorstore.domain.selecting import select
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.vectors import Metric, distances

ROWS_COUNT = 12_000
DIMENSIONS = 16
CLUSTERS_COUNT = 60
PARTS_COUNT = 20
ROWS_MIN = 8_000
TOP_K = 10
RECALL_MIN = 0.95

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def clustered(count: int, seed: int) -> Vectors:
    """Draw vectors as embeddings are spread: around centers that all seeds share."""
    centers = np.random.default_rng(0).normal(size=(CLUSTERS_COUNT, DIMENSIONS))
    generator = np.random.default_rng(seed)
    members = centers[generator.integers(0, CLUSTERS_COUNT, count)]
    noise = generator.normal(scale=0.3, size=(count, DIMENSIONS))
    return (members + noise).astype(np.float32)


VECTORS = clustered(ROWS_COUNT, 1)
QUERIES = clustered(40, 2)


def body_of(vectors: Vectors, first_id: int, metric: str) -> dict[str, Any]:
    ids = list(range(first_id, first_id + len(vectors)))
    return {
        "distance_metric": metric,
        "upsert_columns": {
            "id": ids,
            "vector": base64.b64encode(vectors.tobytes()).decode(),
            "part": [i % PARTS_COUNT for i in ids],
        },
    }


def filled(new_store: Callable[..., Any], metric: str = Metric.COSINE, **limits: int) -> Any:
    store = new_store(**({"index_rows_min": ROWS_MIN} | limits))
    store.write(body_of(VECTORS, 0, metric))
    store.finish_indexes()
    return store


@pytest.fixture(scope="module")
def untouched(new_store: Callable[..., Any]) -> dict[Metric, Any]:
    """Return a store by metric, for tests that do not write."""
    return {metric: filled(new_store, metric) for metric in Metric}


@pytest.fixture
def store(new_store: Callable[..., Any]) -> Any:
    return filled(new_store)


def index_of(store: Any) -> Any:
    return store.queries.registry.get("ns").latest.columns["vector"].index


def nearest(store: Any, query: Any, operator: str = "ANN", **fields: Any) -> list[dict[str, Any]]:
    body = {"rank_by": ["vector", operator, query.tolist()], "limit": TOP_K, **fields}
    rows: list[dict[str, Any]] = store.query(body)["rows"]
    return rows


def nearest_ids(store: Any, query: Any, **fields: Any) -> list[int]:
    return [row["id"] for row in nearest(store, query, **fields)]


def ids_in(view: TableView, query: Any) -> list[Any]:
    rank = ByVector("vector", query.tolist(), is_exact=False)
    return view.ids(select(Query(rank=rank, limit=TOP_K), view).slots)


def true_ids(query: Any, kept: Any, metric: Metric = Metric.COSINE) -> list[int]:
    apart = distances(VECTORS, query, metric)
    slots = np.flatnonzero(kept)
    return [int(slot) for slot in slots[np.lexsort((slots, apart[slots]))][:TOP_K]]


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("parts_count", [PARTS_COUNT, 12, 5, 2])
def test_the_index_finds_the_neighbours_and_shows_their_exact_distances(
    untouched: dict[Metric, Any], metric: Metric, parts_count: int
) -> None:
    kept = np.arange(ROWS_COUNT) % PARTS_COUNT < parts_count
    filters = None if parts_count == PARTS_COUNT else ["part", "Lt", parts_count]
    recalls = []
    for query in QUERIES:
        rows = nearest(untouched[metric], query, filters=filters)
        ids = [row["id"] for row in rows]
        apart = distances(VECTORS[ids], query, metric)
        assert [np.float32(row["$dist"]) for row in rows] == apart.tolist()
        assert ids == [ids[i] for i in np.lexsort((ids, apart))]
        recalls.append(len(set(ids) & set(true_ids(query, kept, metric))) / TOP_K)

    assert index_of(untouched[metric]).is_ready
    assert np.mean(recalls) >= RECALL_MIN


def test_recall_is_measured_against_an_exact_search(untouched: dict[Metric, Any]) -> None:
    found = untouched[Metric.COSINE].queries.recall("ns", parse_recall_request({"num": 20}))

    assert RECALL_MIN <= found["avg_recall"] <= 1
    assert found["avg_ann_count"] == found["avg_exhaustive_count"] == TOP_K


def test_knn_stays_exact(untouched: dict[Metric, Any]) -> None:
    everything = np.ones(ROWS_COUNT, dtype=np.bool_)
    for query in QUERIES:
        rows = nearest(untouched[Metric.COSINE], query, "kNN", filters=["id", "Gte", 0])
        assert [row["id"] for row in rows] == true_ids(query, everything)


def test_a_filter_that_drops_all_that_is_near_still_finds_the_rest(
    new_store: Callable[..., Any],
) -> None:
    store = new_store(index_rows_min=ROWS_MIN)
    body = body_of(VECTORS, 0, Metric.COSINE)
    apart = distances(VECTORS, QUERIES[0], Metric.COSINE)
    is_far = apart > np.median(apart)
    body["upsert_columns"]["is_far"] = is_far.tolist()
    store.write(body)
    store.finish_indexes()

    found = nearest_ids(store, QUERIES[0], filters=["is_far", "Eq", True])

    assert found == true_ids(QUERIES[0], is_far)


def test_more_rows_than_the_index_is_good_for_are_found_exactly(
    untouched: dict[Metric, Any],
) -> None:
    found = nearest_ids(untouched[Metric.COSINE], QUERIES[0], limit=2000)

    apart = distances(VECTORS, QUERIES[0], Metric.COSINE)
    assert found == np.lexsort((np.arange(ROWS_COUNT), apart))[:2000].tolist()


def test_a_zero_query_is_equally_far_from_all(untouched: dict[Metric, Any]) -> None:
    zero = np.zeros(DIMENSIONS, dtype=np.float32)

    assert nearest_ids(untouched[Metric.COSINE], zero) == list(range(TOP_K))


def test_rows_are_found_before_the_index_has_them(store: Any) -> None:
    known_count = index_of(store).slots_count
    fresh = clustered(50, 3)
    store.write(body_of(fresh, ROWS_COUNT, Metric.COSINE))

    found = [nearest_ids(store, vector)[0] for vector in fresh]

    assert index_of(store).slots_count == known_count
    assert found == list(range(ROWS_COUNT, ROWS_COUNT + 50))


def test_the_index_is_fed_once_enough_rows_wait(store: Any) -> None:
    store.write(body_of(clustered(1000, 4), ROWS_COUNT, Metric.COSINE))
    store.finish_indexes()

    assert index_of(store).rows_count == ROWS_COUNT + 1000
    assert store.metrics.get_sample_value("layer_vectorstore_index_rows_total") == ROWS_COUNT + 1000
    assert store.metrics.get_sample_value("layer_vectorstore_index_builds_unfinished") == 0


def test_replaced_and_deleted_rows_are_not_found_except_by_older_readers(store: Any) -> None:
    older = store.queries.registry.get("ns").latest
    before = nearest_ids(store, QUERIES[0])
    moved, gone = before[:3], before[3:6]
    store.write(
        {"upsert_rows": [{"id": i, "vector": (-QUERIES[0]).tolist()} for i in moved]}
        | {"deletes": gone}
    )

    after = nearest_ids(store, QUERIES[0])

    assert not set(after) & {*moved, *gone}
    assert after[:4] == before[6:]
    assert nearest_ids(store, -QUERIES[0])[:3] == sorted(moved)
    assert ids_in(older, QUERIES[0]) == before


def test_older_readers_find_rows_that_died_before_the_index_had_them(store: Any) -> None:
    fresh = clustered(50, 6)
    store.write(body_of(fresh, ROWS_COUNT, Metric.COSINE))
    older = store.queries.registry.get("ns").latest
    store.write({"deletes": list(range(ROWS_COUNT, ROWS_COUNT + 50))})
    store.write(body_of(clustered(1000, 7), 2 * ROWS_COUNT, Metric.COSINE))
    store.finish_indexes()

    assert index_of(store).slots_count == ROWS_COUNT + 1050
    expected = list(range(ROWS_COUNT, ROWS_COUNT + 50))
    assert [ids_in(older, vector)[0] for vector in fresh] == expected
    assert not {i for vector in fresh for i in nearest_ids(store, vector)} & set(expected)


def test_a_rebuilt_namespace_gets_a_new_index(store: Any) -> None:
    first = index_of(store)
    store.write(body_of(VECTORS, 0, Metric.COSINE))
    store.upsert({"id": 0, "vector": VECTORS[0].tolist()})
    store.finish_indexes()

    assert index_of(store) is not first
    assert index_of(store).slots_count == ROWS_COUNT
    assert nearest_ids(store, VECTORS[5])[0] == 5


def test_rows_that_the_index_spared_a_query_are_not_counted(store: Any) -> None:
    def counts() -> list[int]:
        vector = QUERIES[0].tolist()
        bodies = [
            {"rank_by": ["vector", "ANN", vector], "limit": TOP_K},
            {"rank_by": ["vector", "kNN", vector], "limit": TOP_K, "filters": ["id", "Gte", 0]},
        ]
        both = [*bodies, {"queries": bodies}, {"queries": bodies, "rerank_by": ["RRF"]}]
        found = [store.queries.query("ns", parse_query_request(body)) for body in both]
        return [result.answer.exhaustive_count for result in found]

    assert counts() == [0, ROWS_COUNT, ROWS_COUNT, ROWS_COUNT]
    store.write(body_of(clustered(50, 3), ROWS_COUNT, Metric.COSINE))
    assert counts() == [50, *[ROWS_COUNT + 50] * 3]


def test_an_explanation_names_the_index(untouched: dict[Metric, Any]) -> None:
    def plan(operator: str) -> str:
        body = {"rank_by": ["vector", operator, QUERIES[0].tolist()], "limit": 1}
        query = parse_query(body | {"filters": ["id", "Gte", 0]}, "")
        text: str = untouched[Metric.COSINE].queries.explain("ns", query)
        return text

    assert "approximate index" in plan("ANN")
    assert "approximate index" not in plan("kNN")


def test_few_rows_get_no_index(new_store: Callable[..., Any]) -> None:
    store = filled(new_store, index_rows_min=ROWS_COUNT + 1)

    assert index_of(store) is None


def test_readers_see_every_acknowledged_row_while_the_index_is_fed(
    new_store: Callable[..., Any],
) -> None:
    store = new_store(index_rows_min=1000)
    acknowledged = [0]

    def read() -> int:
        checked_count = 0
        while acknowledged[0] < ROWS_COUNT:
            newest = acknowledged[0] - 1
            if newest >= 0:
                assert newest in nearest_ids(store, VECTORS[newest])
                checked_count += 1
        return checked_count

    with ThreadPoolExecutor(2) as readers:
        reading = [readers.submit(read) for _ in range(2)]
        for start in range(0, ROWS_COUNT, 500):
            store.write(body_of(VECTORS[start : start + 500], start, Metric.COSINE))
            acknowledged[0] = start + 500
        assert all(result.result() > 0 for result in reading)
    store.finish_indexes()

    assert index_of(store).rows_count >= ROWS_COUNT - 50
