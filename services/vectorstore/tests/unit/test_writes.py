from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from layer_kit.errors import (
    ForbiddenError,
    LayerError,
    NotFoundError,
    QuotaExceededError,
    UnavailableError,
)
from layer_vectorstore.adapters.memory_log import MemoryChangeLog
from layer_vectorstore.application.managing import MetadataUpdate
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.schema_parsing import parse_schema
from layer_vectorstore.domain.write_parsing import parse_write_request


def test_rows_and_columns_write_the_same_and_nulls_are_left_out(store: Any) -> None:
    store.upsert({"id": 1, "a": "x", "b": None}, {"id": 2, "b": 5})
    store.write({"upsert_columns": {"id": [1, 2], "a": ["x", None], "b": [None, 5]}}, name="other")

    expected = [{"id": 1, "a": "x"}, {"id": 2, "b": 5}]
    assert store.rows() == expected
    body = {"rank_by": ["id", "asc"], "limit": 9, "include_attributes": True}
    assert store.query(body, name="other")["rows"] == expected


def test_an_upsert_replaces_and_a_patch_merges(store: Any) -> None:
    store.upsert({"id": 1, "a": 1, "b": 1}, {"id": 2, "a": 2, "b": 2})
    store.upsert({"id": 1, "a": 9})
    store.write({"patch_rows": [{"id": 2, "a": None, "c": True}, {"id": 3, "a": 1}]})
    store.write({"patch_columns": {"id": [1], "b": [7]}})

    assert store.rows() == [{"id": 1, "a": 9, "b": 7}, {"id": 2, "b": 2, "c": True}]


def test_answers_count_only_what_was_asked_for_and_done(store: Any) -> None:
    first = store.upsert({"id": 1, "n": 1}, {"id": 2, "n": 2}, return_affected_ids=True)
    assert first["rows_affected"] == 2
    assert first["upserted_ids"] == [1, 2]
    assert not {"rows_patched", "rows_deleted", "rows_remaining"} & first.keys()

    second = store.write(
        {
            "upsert_rows": [{"id": 1, "n": 0}],
            "upsert_condition": ["n", "Lt", {"$ref_new": "n"}],
            "patch_rows": [{"id": 9, "n": 1}],
            "deletes": [2, 8],
            "return_affected_ids": True,
        }
    )
    assert (second["rows_affected"], second["rows_upserted"], second["rows_patched"]) == (1, 0, 0)
    assert second["deleted_ids"] == [2]
    assert "upserted_ids" not in second


def test_insert_if_absent_and_newest_wins(store: Any) -> None:
    absent = ["id", "Eq", None]
    newer = ["Or", [["v", "Lt", {"$ref_new": "v"}], ["v", "Eq", None]]]
    store.upsert({"id": "a", "v": 1}, upsert_condition=absent)
    store.upsert({"id": "a", "v": 5}, {"id": "b", "v": 5}, upsert_condition=absent)
    store.upsert({"id": "a", "v": 0}, {"id": "b", "v": 6}, upsert_condition=newer)

    assert store.rows() == [{"id": "a", "v": 1}, {"id": "b", "v": 6}]


def test_delete_conditions_see_null_for_every_new_value(store: Any) -> None:
    store.upsert({"id": 1, "n": 1}, {"id": 2})
    store.write({"deletes": [1, 2], "delete_condition": ["n", "Eq", {"$ref_new": "n"}]})

    assert store.ids() == [1]


def test_filters_of_a_write_run_before_its_rows(store: Any) -> None:
    store.upsert({"id": 1, "n": 1}, {"id": 2, "n": 2}, {"id": 3, "n": 3})
    answer = store.write(
        {
            "delete_by_filter": ["n", "Lte", 2],
            "patch_by_filter": {"filters": ["n", "Gte", 2], "patch": {"m": "p"}},
            "upsert_rows": [{"id": 1, "n": 9}],
            "upsert_condition": ["n", "Eq", 100],
        }
    )

    # Row 1 was gone by then, so its condition did not apply; row 2 was gone before the patch.
    assert store.rows() == [{"id": 1, "n": 9}, {"id": 3, "n": 3, "m": "p"}]
    assert (answer["rows_deleted"], answer["rows_patched"], answer["rows_upserted"]) == (2, 1, 1)


def test_too_many_rows_by_filter_are_refused_or_done_in_part(new_store: Any) -> None:
    store = new_store(deleted_rows_max=2, patched_rows_max=1)
    store.upsert(*({"id": i, "n": i} for i in range(5)))
    everything = ["n", "Gte", 0]

    with pytest.raises(RefusedError, match="at most 2"):
        store.write({"delete_by_filter": everything, "schema": {"new": "string"}})
    assert "new" not in store.manage.schema("ns").attributes
    with pytest.raises(RefusedError, match="at most 1"):
        store.write({"patch_by_filter": {"filters": everything, "patch": {"n": 1}}})
    part = store.write({"delete_by_filter": everything, "delete_by_filter_allow_partial": True})
    assert (part["rows_deleted"], part["rows_remaining"]) == (2, True)
    rest = store.write(
        {
            "patch_by_filter": {"filters": ["n", "Gt", 3], "patch": {"n": -1}},
            "patch_by_filter_allow_partial": True,
        }
    )
    assert "rows_remaining" not in rest
    assert store.ids() == [2, 3, 4]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([10, 9, 18446744073709551615], [9, 10, 18446744073709551615]),
        (["b", "a10", "a9", "Z"], ["Z", "a10", "a9", "b"]),
    ],
)
def test_ids_keep_their_kind_and_order(store: Any, ids: list[Any], expected: list[Any]) -> None:
    store.upsert(*({"id": i} for i in ids))

    assert store.ids() == expected
    assert store.ids(["id", "Gt", expected[0]]) == expected[1:]


def test_uuids_are_normalised_in_rows_filters_and_deletes(store: Any) -> None:
    text = "00000000-0000-0000-0000-00000000ABCD"
    other = "11111111-1111-1111-1111-111111111111"
    store.upsert({"id": text}, {"id": f"{{{other}}}"}, schema={"id": "uuid"})

    assert store.ids() == [text.lower(), other]
    assert store.ids(["id", "Eq", f"urn:uuid:{text}"]) == [text.lower()]
    store.write({"deletes": [text.replace("-", "")]})
    assert store.ids() == [other]
    with pytest.raises(RefusedError, match="duplicate document IDs"):
        store.upsert({"id": text}, {"id": text.lower()})
    with pytest.raises(RefusedError, match="could not be parsed as uuid"):
        store.upsert({"id": "x"})


def test_datetimes_are_read_in_any_form_and_shown_in_utc(store: Any) -> None:
    moments = ["2024-01-02", "2024-01-02T03:04:05.678901", "2024-01-02T03:00:00+02:00", None]
    store.write({"upsert_columns": {"id": [1, 2, 3, 4], "t": moments}, "schema": {"t": "datetime"}})

    assert [row.get("t") for row in store.rows()] == [
        "2024-01-02T00:00:00.000000000Z",
        "2024-01-02T03:04:05.678000000Z",
        "2024-01-02T01:00:00.000000000Z",
        None,
    ]
    assert store.ids(["t", "Gt", "2024-01-02T01:00:00Z"]) == [2]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ([], 422, "expected a map"),
        ({"upsert_rows": {}}, 422, "upsert_rows: invalid type: map, expected a sequence"),
        ({"upsert_rows": [{"a": 1}]}, 422, "upsert_rows[0]: missing field `id`"),
        (
            {"upsert_rows": [{"id": -1}]},
            422,
            "upsert_rows[0].id: data did not match any variant of untagged enum Id",
        ),
        ({"upsert_rows": [{"id": 1.5}]}, 422, "untagged enum Id"),
        ({"upsert_rows": [{"id": True}]}, 422, "untagged enum Id"),
        ({"deletes": [None]}, 422, "untagged enum IdVec"),
        ({"upsert_rows": [], "distance_metric": "dot"}, 422, "unknown variant `dot`"),
        ({"upsert_columns": {"id": [1], "a": [1, 2]}}, 400, "same length"),
        (
            {"upsert_rows": [{"id": "a"}]},
            400,
            (
                "💔 namespace ID type is uint, but you sent string; "
                "you are not allowed to mix ID types in the same namespace"
            ),
        ),
        (
            {"upsert_rows": [{"id": 5}, {"id": 5}]},
            400,
            "💔 This upsert contains duplicate document IDs and was not written.",
        ),
        ({"upsert_rows": [{"id": 5}], "deletes": [5]}, 400, "duplicate document IDs"),
        (
            {"upsert_rows": [{"id": 5, "s": 3}]},
            400,
            (
                "🙅 invalid schema update for attribute 's': "
                "cannot change attribute type from string to int"
            ),
        ),
        ({"schema": {"s": "int"}}, 400, "cannot change attribute type from string to int"),
        ({"schema": {"id": "int"}}, 400, "💔 int is not a valid ID type"),
        (
            {"schema": {"v": {"type": "[2]f32"}}},
            400,
            "💔 vector attribute 'v' must have ann:true",
        ),
        ({"schema": {"s": {"filterable": True}}}, 422, "untagged enum AttributeSchemaInput"),
        ({"schema": {"s": {"type": "strin"}}}, 422, "untagged enum AttributeSchemaInput"),
        ({"upsert_rows": [{"id": 5, "$x": 3}]}, 400, "start with `$`"),
        ({"upsert_rows": [{"id": 5, "new": {}}]}, 400, "expected a scalar or an array"),
        ({"upsert_rows": [{"id": 5, "n": {}}]}, 400, "invalid value for attribute 'n'"),
        ({"upsert_rows": [{"id": 5, "n": 2**63}]}, 400, "invalid value for attribute 'n'"),
        ({"upsert_rows": [{"id": 5, "s": "x" * 5000}]}, 400, "filterable: false"),
        ({"copy_from_namespace": "a", "deletes": [1]}, 400, "cannot be used with other"),
        ({"upsert_rows": [{"id": 5}], "upsert_condition": ["zz", "Eq", 1]}, 400, "not found"),
        ({"encryption": {"mode": "customer-managed", "key_name": "k"}}, 400, "crypto key"),
        ({"schema": {"e": {"type": "string", "embed": "model"}}}, 400, "hosted model"),
        ({"patch_by_filter": {"filters": ["s", "Eq", "x"], "patch": {"s": 5}}}, 400, "type"),
    ],
)
def test_a_wrong_write_is_refused_and_changes_nothing(
    store: Any, body: Any, status: int, message: str
) -> None:
    store.upsert({"id": 1, "s": "x", "n": 1})

    with pytest.raises(LayerError) as raised:
        store.write(body)

    assert (raised.value.http_status, message in raised.value.message) == (status, True)
    assert store.rows() == [{"id": 1, "s": "x", "n": 1}]


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


def test_attributes_can_be_dropped_and_options_changed(store: Any) -> None:
    store.upsert({"id": 1, "a": "fox run", "b": 1})
    text = {"a": {"type": "string", "full_text_search": {"stemming": True}}}
    store.manage.update_schema("ns", _updates(text | {"b": {"drop": True}}))

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


def test_an_index_lag_hides_fresh_rows_from_eventual_reads_alone(store: Any) -> None:
    store.freshness.index_lag_ms = 1000
    store.upsert({"id": 1})
    eventual = {"consistency": {"level": "eventual"}}

    assert store.ids() == [1]
    assert store.query({"rank_by": ["id", "asc"], "limit": 9, **eventual})["rows"] == []
    assert store.manage.metadata("ns")["index"] == {
        "status": "updating",
        "unindexed_bytes": 8,
        "unindexed_rows": 1,
    }
    store.now_ms += 1000
    assert store.query({"rank_by": ["id", "asc"], "limit": 9, **eventual})["rows"] == [{"id": 1}]
    assert store.manage.metadata("ns")["index"] == {"status": "up-to-date"}


def test_too_many_unindexed_bytes_push_back(store: Any) -> None:
    store.freshness.index_lag_ms = 1000
    store.freshness.unindexed_bytes_max = 10
    store.upsert({"id": 1}, {"id": 2})

    with pytest.raises(QuotaExceededError):
        store.upsert({"id": 3})
    store.upsert({"id": 4}, disable_backpressure=True)
    store.now_ms += 1000
    store.upsert({"id": 5})


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


def test_operations_of_copies_can_be_asked_for_later(store: Any) -> None:
    store.upsert({"id": 1})
    request = parse_write_request({"copy_from_namespace": "ns"})
    token = store.manage.start_copy("copy", request)
    failed = store.manage.start_copy("copy", request)

    assert store.manage.operation("copy", token).outcome.copied_rows_count == 1
    assert isinstance(store.manage.operation("copy", failed).outcome, RefusedError)
    with pytest.raises(NotFoundError):
        store.manage.operation("other", token)


def _updates(schema: dict[str, Any]) -> Any:
    return parse_schema(schema, "")


def test_writers_of_one_namespace_lose_nothing(new_store: Any) -> None:
    store = new_store(MemoryChangeLog())
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(store.upsert, {"id": i, "n": i % 3}) for i in range(200)]:
            future.result()

    assert store.ids() == list(range(200))
    store.restart()
    assert store.ids() == list(range(200))
