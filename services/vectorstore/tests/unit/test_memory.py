from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from layer_vectorstore.domain.errors import RefusedError


def test_a_namespace_over_its_memory_limit_is_refused(new_store: Callable[..., Any]) -> None:
    store = new_store(namespace_bytes_max=1000)
    store.upsert({"id": 1, "s": "x" * 600})

    with pytest.raises(RefusedError, match="over the limit of 1000 bytes"):
        store.upsert({"id": 2, "s": "x" * 600})
    store.write({"deletes": [1]})
    store.upsert({"id": 2, "s": "x" * 600})
    assert store.ids() == [2]


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
