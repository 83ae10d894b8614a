from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from layer_kit.errors import UnavailableError
from layer_vectorstore.adapters.memory_log import MemoryChangeLog
from layer_vectorstore.domain.errors import RefusedError

INDEX_BYTES = 16 << 20
"""What an index of a few rows takes at least."""

VECTORS = {
    "distance_metric": "euclidean_squared",
    "upsert_rows": [{"id": i, "vector": [i] * 64} for i in range(50)],
}


def test_a_namespace_over_its_memory_limit_is_refused(new_store: Callable[..., Any]) -> None:
    store = new_store(namespace_bytes_max=1000)
    store.upsert({"id": 1, "s": "x" * 600})

    with pytest.raises(RefusedError, match="over the limit of 1000 bytes"):
        store.upsert({"id": 2, "s": "x" * 600})
    store.write({"deletes": [1]})
    store.upsert({"id": 2, "s": "x" * 600})
    assert store.ids() == [2]


def test_many_small_rows_count_as_what_they_take(new_store: Callable[..., Any]) -> None:
    store = new_store(namespace_bytes_max=1 << 20)
    text = {"text": {"type": "string", "full_text_search": True}}

    def fill() -> None:
        for start in range(0, 100_000, 100):
            rows = ({"id": i, "text": f"a{i} b{i}"} for i in range(start, start + 100))
            store.upsert(*rows, schema=text)

    with pytest.raises(RefusedError, match="over the limit"):
        fill()
    table = store.queries.registry.get("ns").table
    assert table.logical_bytes < 50_000
    assert (1 << 20) - 200_000 < table.memory_bytes < (1 << 20) + 200_000


def test_replaced_rows_make_room_when_memory_is_short(new_store: Callable[..., Any]) -> None:
    store = new_store(namespace_bytes_max=1 << 20)
    for number in range(500):
        store.upsert(*({"id": i, "s": f"{number} {i}" * 100} for i in range(40)))

    table = store.queries.registry.get("ns").table
    assert table.memory_bytes < (1 << 20) + 100_000
    assert store.rows()[7] == {"id": 7, "s": "499 7" * 100}


def test_a_document_over_its_limit_is_refused(store: Any) -> None:
    value = "x" * (8 << 20)
    unfiltered = {f"s{i}": {"type": "string", "filterable": False} for i in range(9)}
    large = dict.fromkeys(unfiltered, value)

    with pytest.raises(RefusedError, match="a document has 75497480 bytes"):
        store.upsert({"id": 1}, {"id": 2, **large}, schema=unfiltered)
    store.upsert(*({"id": i, name: value} for i, name in enumerate(large)), schema=unfiltered)
    assert len(store.ids()) == 9


def test_patches_count_as_well(new_store: Callable[..., Any]) -> None:
    store = new_store(namespace_bytes_max=1000)
    store.upsert({"id": 1, "s": "x" * 100}, {"id": 2, "s": "x" * 100})
    large = "x" * 900

    with pytest.raises(RefusedError, match="over the limit"):
        store.write({"patch_rows": [{"id": 1, "s": large}]})
    with pytest.raises(RefusedError, match="over the limit"):
        store.write({"patch_by_filter": {"filters": ["id", "Gte", 1], "patch": {"s": large}}})
    store.write({"patch_rows": [{"id": 1, "s": "y"}], "deletes": [2]})
    assert store.rows() == [{"id": 1, "s": "y"}]


def test_rows_whose_index_would_not_fit_are_refused(new_store: Callable[..., Any]) -> None:
    store = new_store(namespace_bytes_max=INDEX_BYTES + 10_000, index_rows_min=100)
    store.write(VECTORS)

    with pytest.raises(RefusedError, match=r"over the limit.* of them for its index of vectors"):
        store.upsert(*({"id": i, "vector": [i] * 64} for i in range(50, 110)))
    store.upsert({"id": 50, "vector": [1] * 64})
    assert len(store.ids()) == 51


def test_a_namespace_without_room_for_its_index_is_searched_exactly(
    new_store: Callable[..., Any],
) -> None:
    change_log = MemoryChangeLog()
    roomy = new_store(change_log, index_rows_min=20)
    roomy.write(VECTORS)
    roomy.finish_indexes()
    narrow = new_store(change_log, index_rows_min=20, namespace_bytes_max=100_000)
    nearest = {"rank_by": ["vector", "ANN", [7] * 64], "limit": 1}

    for store, is_indexed in ((roomy, True), (narrow, False)):
        assert [row["id"] for row in store.query(nearest)["rows"]] == [7]
        store.finish_indexes()
        column = store.queries.registry.get("ns").latest.columns["vector"]
        assert (column.index is not None) == is_indexed


def test_idle_namespaces_make_room_and_come_back(new_store: Callable[..., Any]) -> None:
    store = new_store(memory_bytes_max=1000)
    for name in ("a", "b", "c"):
        store.write({"upsert_rows": [{"id": 1, "s": name * 600}]}, name=name)

    registry = store.manage.registry
    assert [registry._entries[name].namespace is None for name in "abc"] == [True, True, False]
    body = {"rank_by": ["id", "asc"], "limit": 1, "include_attributes": True}
    for name in ("a", "b", "c", "a"):
        assert store.query(body, name=name)["rows"] == [{"id": 1, "s": name * 600}]
        store.write({"patch_rows": [{"id": 1, "n": 1}]}, name=name)
        store.write({"patch_rows": [{"id": 1, "n": None}]}, name=name)


def test_replaced_rows_are_given_back_and_nothing_else_changes(store: Any) -> None:
    text = {"text": {"type": "string", "full_text_search": True}}
    rows = [{"id": i, "text": f"fox {i}", "tags": [str(i)]} for i in range(4000)]
    for _ in range(5):
        store.upsert(*rows, schema=text)

    table = store.manage.registry.get("ns").table
    assert table.slots_count < 12_000
    assert store.ids(["text", "ContainsAllTokens", "17"]) == [17]
    store.restart()
    assert store.rows() == rows


def test_what_is_deleted_lost_or_let_go_counts_no_more(new_store: Callable[..., Any]) -> None:
    store = new_store(memory_bytes_max=200_000)
    row = {"id": 1, "text": "x" * 4000}
    for number in range(300):
        store.write({"upsert_rows": [row]}, name=f"n{number}")
        if number % 3 == 0:
            store.manage.delete(f"n{number}")
        if number % 3 == 1:
            store.change_log.is_broken = True
            with pytest.raises(UnavailableError):
                store.write({"upsert_rows": [row]}, name=f"n{number}")
            store.change_log.is_broken = False

    kept = store.writes.registry.get("n299")
    for _ in range(3):
        store.write({"upsert_rows": [row]}, name="n299")
        store.write({"upsert_rows": [row]}, name="n298")
    assert store.writes.registry.get("n299") is kept


def test_a_refused_write_after_a_restart_keeps_what_was_loaded(
    new_store: Callable[..., Any],
) -> None:
    store = new_store(deleted_rows_max=1)
    store.upsert({"id": 1}, {"id": 2})
    store.restart()
    loaded = store.writes.registry.get("ns")

    with pytest.raises(RefusedError, match="narrow the filter"):
        store.write({"delete_by_filter": ["id", "Gt", 0]})

    assert store.writes.registry.get("ns") is loaded
    assert store.rows() == [{"id": 1}, {"id": 2}]
