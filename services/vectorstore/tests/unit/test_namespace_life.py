from __future__ import annotations

from typing import Any

import pytest

from layer_kit.errors import ForbiddenError, NotFoundError, UnavailableError
from layer_vectorstore.application.managing import MetadataUpdate
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.exporting import parse_cursor
from layer_vectorstore.domain.schema_parsing import parse_schema
from layer_vectorstore.domain.write_parsing import parse_write_request

ALL = {"rank_by": ["id", "asc"], "limit": 10_000, "include_attributes": True}


def test_only_rows_or_an_explicit_wish_create_a_namespace(store: Any) -> None:
    for body in ({"deletes": [1]}, {"schema": {"a": "int"}}, {"patch_rows": [{"id": 1, "a": 1}]}):
        with pytest.raises(NotFoundError, match="namespace 'ns' was not found"):
            store.write(body)
    with pytest.raises(NotFoundError):
        store.upsert({"id": 1}, create_namespace=False)
    with pytest.raises(RefusedError, match="type of `id`"):
        store.write({"create_namespace": True})
    assert store.manage.registry.names() == []

    store.write({"create_namespace": True, "schema": {"id": "uuid"}})
    assert store.ids() == []


def test_an_emptied_namespace_still_exists_and_a_deleted_one_does_not(store: Any) -> None:
    store.upsert({"id": 1})
    store.write({"deletes": [1]})
    assert store.ids() == []

    store.manage.delete("ns")
    with pytest.raises(NotFoundError):
        store.ids()
    store.upsert({"id": "now a string"})
    store.restart()
    assert store.ids() == ["now a string"]


def test_copies_and_branches_go_their_own_way(store: Any) -> None:
    store.upsert(
        {"id": 1, "vector": [1, 2], "text": "fox", "tags": ["a"]},
        schema={"text": {"type": "string", "full_text_search": True}},
        distance_metric="cosine_distance",
    )
    copied = store.write({"copy_from_namespace": "ns"}, name="copy")
    store.write({"branch_from_namespace": {"source_namespace": "ns"}}, name="branch")
    store.write({"patch_rows": [{"id": 1, "text": "dog"}]}, name="branch")
    store.write({"deletes": [1]})
    store.restart()

    assert copied["rows_affected"] == 1
    body = {"rank_by": ["text", "BM25", "fox"], "limit": 5, "include_attributes": True}
    rows = store.query(body, name="copy")["rows"]
    assert [(row["id"], row["vector"], row["tags"]) for row in rows] == [(1, [1.0, 2.0], ["a"])]
    assert store.query(body, name="branch")["rows"] == []
    assert store.manage.metadata("branch")["branching"] == {"parent": "ns"}
    with pytest.raises(RefusedError, match="not empty"):
        store.write({"copy_from_namespace": "ns"}, name="copy")
    store.write({"deletes": [1]}, name="copy")
    store.write({"copy_from_namespace": "branch"}, name="copy")
    store.restart()
    assert store.query(body | {"rank_by": ["id", "asc"]}, name="copy")["rows"][0]["text"] == "dog"
    with pytest.raises(NotFoundError):
        store.write({"copy_from_namespace": "missing"}, name="fresh")


def test_operations_of_copies_can_be_asked_for_later(store: Any) -> None:
    store.upsert({"id": 1})
    request = parse_write_request({"copy_from_namespace": "ns"})
    token = store.manage.start_copy("copy", request)
    failed = store.manage.start_copy("copy", request)

    assert store.manage.operation("copy", token).outcome.copied_rows_count == 1
    assert isinstance(store.manage.operation("copy", failed).outcome, RefusedError)
    with pytest.raises(NotFoundError):
        store.manage.operation("other", token)


def test_attributes_can_be_dropped_and_options_changed(store: Any) -> None:
    store.upsert({"id": 1, "a": "fox run", "b": 1})
    text = {"a": {"type": "string", "full_text_search": {"stemming": True}}}
    store.manage.update_schema("ns", parse_schema(text | {"b": {"drop": True}}, ""))

    assert store.rows() == [{"id": 1, "a": "fox run"}]
    found = store.query({"rank_by": ["a", "BM25", "running"], "limit": 1})["rows"]
    assert [row["id"] for row in found] == [1]
    with pytest.raises(RefusedError, match="not filterable"):
        store.ids(["a", "Eq", "fox run"])
    store.upsert({"id": 2, "b": "of another type now"})
    store.restart()
    assert store.rows()[1] == {"id": 2, "b": "of another type now"}


def test_a_read_only_namespace_refuses_writes_until_it_is_told_otherwise(store: Any) -> None:
    store.upsert({"id": 1})
    store.manage.update_metadata("ns", MetadataUpdate(read_only=True, replicas=2))
    store.restart()

    assert store.manage.metadata("ns")["pinning"]["replicas"] == 2
    with pytest.raises(ForbiddenError):
        store.upsert({"id": 2})
    store.manage.update_metadata("ns", MetadataUpdate(read_only=False, unpin=True))
    store.upsert({"id": 2})
    assert not {"pinning", "read_only"} & store.manage.metadata("ns").keys()


def test_nothing_is_copied_into_a_read_only_namespace(store: Any) -> None:
    store.upsert({"id": 1})
    store.write({"create_namespace": True, "schema": {"id": "uint"}}, name="empty")
    store.manage.update_metadata("empty", MetadataUpdate(read_only=True))

    for kind in ("copy_from_namespace", "branch_from_namespace"):
        with pytest.raises(ForbiddenError):
            store.write({kind: "ns"}, name="empty")

    assert store.manage.metadata("empty")["read_only"]


def test_a_lost_write_is_reported_and_never_seen(store: Any) -> None:
    store.upsert({"id": 1})
    store.change_log.is_broken = True
    with pytest.raises(UnavailableError):
        store.upsert({"id": 2})
    with pytest.raises(UnavailableError):
        store.write({"upsert_rows": [{"id": 1}]}, name="never")
    store.change_log.is_broken = False

    assert store.ids() == [1]
    assert store.manage.registry.names() == ["ns"]
    store.upsert({"id": 3})
    store.restart()
    assert store.ids() == [1, 3]


def test_a_copy_of_large_rows_is_logged_in_small_changes(store: Any) -> None:
    schema = {"text": {"type": "string", "filterable": False}}
    rows = [{"id": i, "text": chr(97 + i) * (3 << 20)} for i in range(12)]
    for row in rows:
        store.upsert(row, schema=schema)

    store.write({"copy_from_namespace": "ns"}, name="copy")

    [stream] = [found for found in store.change_log.streams() if found.name == "copy"]
    changes = list(store.change_log.replay(stream))
    assert [sum(len(step.ids) for step in each.steps) for each in changes] == [0, 5, 5, 2]
    store.restart()
    assert store.query(ALL, name="copy")["rows"] == rows


def test_all_rows_are_exported_page_by_page(store: Any) -> None:
    count = 10_001
    columns = {"id": list(range(count)), "n": [None, *range(1, count)]}
    vectors = {"vector": [[float(i), 0.5] for i in range(count)]}
    store.write({"upsert_columns": columns | vectors, "distance_metric": "euclidean_squared"})

    first = store.queries.export("ns", parse_cursor(""))
    last = store.queries.export("ns", parse_cursor(first["next_cursor"]))

    assert first["ids"] + last["ids"] == columns["id"]
    assert first["attributes"]["n"] + last["attributes"]["n"] == columns["n"]
    assert first["vectors"] + last["vectors"] == vectors["vector"]
    assert (last["next_cursor"], last["message"]) == (None, None)


@pytest.mark.parametrize("cursor", ["{", '"x"', "-1", "[]", "null x"])
def test_cursors_that_no_page_gave_are_refused(store: Any, cursor: str) -> None:
    store.upsert({"id": 1})

    with pytest.raises(RefusedError):
        store.queries.export("ns", parse_cursor(cursor))
