from __future__ import annotations

from typing import Any

import pytest

from layer_vectorstore.domain.errors import RefusedError


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


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"])
def test_a_moment_before_or_after_all_years_is_refused(store: Any, moment: str) -> None:
    earliest = {"id": 1, "t": "0001-01-01"}
    store.upsert(earliest, schema={"t": "datetime"})

    with pytest.raises(RefusedError, match="invalid value for attribute 't'"):
        store.upsert({"id": 2, "t": moment})
    with pytest.raises(RefusedError, match="expects datetime"):
        store.ids(["t", "Gt", moment])
    assert store.rows() == [{"id": 1, "t": "0001-01-01T00:00:00.000000000Z"}]
