"""What a stamped write sends upstream, and what it tells the cache."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import InvalidRequestError, MalformedRequestError
from layer_kit.turns import at_once
from layer_wire.ids import IdKind, shards
from layer_wire.reserved import Author
from layer_wire.stamping import ROWS_AT_ONCE, StampedWrite, stamp
from layer_wire.writes import decode_write

NOW_MS = 1_780_000_002_000
(SHARD_OF_1,) = shards([1], 16)


def stamped(
    body: object,
    *,
    id_kind: IdKind | None = None,
    unmirrored: str = "",
    author: Author = Author.CLIENT,
) -> StampedWrite:
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    write = decode_write(text)
    assert write is not None
    return at_once(
        stamp(
            write,
            upserted_at_ms=NOW_MS,
            shard_count=16,
            id_kind=id_kind,
            unmirrored=frozenset(unmirrored.split()),
            author=author,
        )
    )


def sent(write: StampedWrite) -> Any:
    return msgspec.json.decode(b"".join(write.body))


def test_the_documented_write_gets_the_documented_stamps() -> None:
    write = stamped(
        {
            "upsert_rows": [
                {"id": "t-1", "vector": [0.5, -1.0], "kind": "saw"},
                {"id": "t-2", "vector": "AAAAPwAAgL8=", "kind": "saw"},
            ],
            "patch_columns": {"id": ["t-3", "t-4"], "rating": [5, None]},
            "deletes": ["t-9"],
            "distance_metric": "cosine_distance",
        }
    )
    stamp_of = {"_hevlayer_upserted_at": NOW_MS}
    assert sent(write) == {
        "upsert_rows": [
            {"id": "t-1", "vector": [0.5, -1.0], "kind": "saw", **stamp_of, "_hevlayer_shard": 10},
            {
                "id": "t-2",
                "vector": "AAAAPwAAgL8=",
                "kind": "saw",
                **stamp_of,
                "_hevlayer_shard": 9,
            },
        ],
        "patch_columns": {
            "id": ["t-3", "t-4"],
            "rating": [5, None],
            "_hevlayer_upserted_at": [NOW_MS, NOW_MS],
            "_hevlayer_shard": [14, 8],
        },
        "deletes": ["t-9"],
        "distance_metric": "cosine_distance",
    }
    assert write.puts.ids == [b"st-1", b"st-2"]
    assert write.patches.ids == [b"st-3", b"st-4"]
    assert write.uncached == [b"st-9"]


def test_a_client_cannot_choose_its_stamps() -> None:
    row = b'{"id":1,"_hevlayer_upserted_at":5,"_hevlayer\\u005fshard":99}'
    write = stamped(b'{"upsert_rows":[' + row + b"]}")
    assert sent(write)["upsert_rows"] == [
        {"id": 1, "_hevlayer_upserted_at": NOW_MS, "_hevlayer_shard": SHARD_OF_1}
    ]
    columns = stamped({"upsert_columns": {"id": [1], "_hevlayer_shard": [99]}})
    assert sent(columns)["upsert_columns"]["_hevlayer_shard"] == [SHARD_OF_1]


def test_values_are_relayed_as_they_were_spelt() -> None:
    body = b'{"upsert_rows":[{"id":18446744073709551615,"a":1e2,"b":-0,"c":"\\u00e9","d":0.10}]}'
    text = b"".join(stamped(body).body)
    for spelling in (b'"id":18446744073709551615', b'"a":1e2', b'"b":-0', b'"c":"\\u00e9"'):
        assert spelling in text


@pytest.mark.parametrize("form", ["rows", "columns"])
def test_the_cache_gets_attributes_without_nulls_and_vectors_apart(form: str) -> None:
    row = {"id": "t-1", "vector": [1.0], "kind": "x", "gone": None}
    body = (
        {"upsert_rows": [row]}
        if form == "rows"
        else {"upsert_columns": {key: [value] for key, value in row.items()}}
    )
    puts = stamped(body).puts
    attributes = msgspec.json.decode(puts.bodies[0])
    assert attributes == {"kind": "x", "_hevlayer_upserted_at": NOW_MS, "_hevlayer_shard": 10}
    assert msgspec.json.decode(puts.vector_objects()[0]) == {"vector": [1.0]}


def test_the_text_null_inside_a_string_is_kept() -> None:
    puts = stamped({"upsert_rows": [{"id": 1, "note": "null"}]}).puts
    assert msgspec.json.decode(puts.bodies[0])["note"] == "null"


def test_a_patch_keeps_its_nulls_since_they_remove_attributes() -> None:
    patches = stamped({"patch_rows": [{"id": 1, "gone": None}]}).patches
    assert msgspec.json.decode(patches.bodies[0])["gone"] is None


def test_rows_with_attributes_that_read_back_otherwise_are_not_offered() -> None:
    rows = [{"id": 1, "on": "2026-01-02"}, {"id": 2, "kind": "x"}]
    write = stamped({"upsert_rows": rows}, unmirrored="on")
    assert (write.puts.ids, write.uncached) == ([b"u2"], [b"u1"])
    assert set(write.ids) == {b"u1", b"u2"}


def test_uuids_are_known_by_one_spelling() -> None:
    text = "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"
    write = stamped({"upsert_rows": [{"id": text}]}, id_kind=IdKind.UUID)
    assert write.puts.ids == [b"g" + text.lower().encode()]


def test_a_patch_by_filter_gets_the_time_and_asks_for_the_ids() -> None:
    write = stamped({"patch_by_filter": {"filters": ["a", "Eq", 1], "patch": {"b": 2}}})
    assert sent(write) == {
        "patch_by_filter": {
            "filters": ["a", "Eq", 1],
            "patch": {"b": 2, "_hevlayer_upserted_at": NOW_MS},
        },
        "return_affected_ids": True,
    }


def test_a_conditional_write_asks_for_the_ids_once() -> None:
    write = stamped(
        {
            "upsert_rows": [{"id": 1}],
            "upsert_condition": ["id", "Eq", None],
            "return_affected_ids": False,
        }
    )
    assert b"".join(write.body).count(b"return_affected_ids") == 1
    assert sent(write)["return_affected_ids"] is True


def test_fields_we_do_not_know_are_passed_on() -> None:
    write = stamped({"upsert_rows": [{"id": 1}], "brand_new": {"deep": [1]}})
    assert sent(write)["brand_new"] == {"deep": [1]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"upsert_rows": {}}, "upsert_rows", id="rows that are no list"),
        pytest.param({"upsert_rows": [None]}, "upsert_rows", id="a row that is no object"),
        pytest.param({"upsert_columns": []}, "upsert_columns", id="columns that are no object"),
        pytest.param({"upsert_columns": {"a": [1]}}, "upsert_columns.id", id="no id column"),
        pytest.param({"upsert_columns": {"id": []}}, "upsert_columns.id", id="an empty id column"),
        pytest.param(
            {"upsert_columns": {"id": ["a", "b"], "k": [1]}}, "upsert_columns.k", id="uneven"
        ),
        pytest.param(
            {"upsert_columns": {"id": [1, 2], "vector": "AAAAAAAAAAAAAAAA"}},
            "upsert_columns.vector",
            id="bytes that are no two vectors",
        ),
        pytest.param(
            {"upsert_columns": {"id": [1], "vector": "no base64"}},
            "upsert_columns.vector",
            id="text as a column",
        ),
        pytest.param({"upsert_rows": [{"a": 1}]}, "upsert_rows[0].id", id="no id"),
        pytest.param({"upsert_rows": [{"id": 1.5}]}, "upsert_rows[0].id", id="a fraction as id"),
        pytest.param({"upsert_rows": [{"id": -1}]}, "upsert_rows[0].id", id="a negative id"),
        pytest.param({"upsert_rows": [{"id": True}]}, "upsert_rows[0].id", id="a bool as id"),
        pytest.param({"upsert_rows": [{"id": "x" * 65}]}, "upsert_rows[0].id", id="a long id"),
        pytest.param({"deletes": [{}]}, "deletes", id="an object as id"),
        pytest.param(
            {"upsert_rows": [{"id": 1, "_hevlayer_udf_x_v": "1"}]},
            "upsert_rows[0]._hevlayer_udf_x_v",
            id="a reserved name",
        ),
        pytest.param(
            {"patch_rows": [{"id": 1, "vector": [1.0]}]},
            "patch_rows[0].vector",
            id="patched vector",
        ),
        pytest.param(
            {"patch_by_filter": {"patch": {"vectors": []}}},
            "patch_by_filter.patch.vectors",
            id="vector patched by filter",
        ),
        pytest.param(
            {"upsert_rows": [{"id": 1, "blobs": []}]}, "upsert_rows[0].blobs", id="blobs in a row"
        ),
        *(
            pytest.param({"upsert_rows": [{"id": 1, "vector": bad}]}, "upsert_rows[0].vector", id=n)
            for n, bad in {
                "an empty vector": [],
                "words for a vector": ["a"],
                "an object for a vector": {},
                "a number for a vector": 1,
                "base64 of half a float": base64.b64encode(b"ab").decode(),
                "an empty base64 vector": "",
            }.items()
        ),
    ],
)
def test_a_bad_write_is_refused_by_the_name_of_its_field(body: object, field: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        stamped(body)
    assert field in refusal.value.message
    assert refusal.value.http_status == 422


@pytest.mark.parametrize("body", [{}, {"upserts": []}, {"patches": []}])
def test_a_body_without_a_native_operation_is_refused(body: object) -> None:
    with pytest.raises(InvalidRequestError):
        decode_write(msgspec.json.encode(body))


@pytest.mark.parametrize("body", [b"", b"{", b'{"upsert_rows":[1,]}', b"nope", b'{"a":NaN}'])
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        decode_write(body)


def test_deep_nesting_is_malformed_and_not_a_crash() -> None:
    with pytest.raises(InvalidRequestError):
        decode_write(b'{"upsert_rows":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_a_body_that_is_no_object_is_left_to_the_store() -> None:
    assert decode_write(b" [1,2] ") is None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="$_"), min_size=1, max_size=8)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 2**64 - 1) | st.text(max_size=16), st.dictionaries(NAMES, JSON_VALUES)
    ),
    min_size=1,
    max_size=8,
)


@given(rows=ROWS)
def test_rows_and_columns_are_stamped_alike(
    rows: list[tuple[int | str, dict[str, object]]],
) -> None:
    full = [
        {"id": id_}
        | {k: v for k, v in row.items() if k not in {"id", "vector", "vectors", "blobs"}}
        for id_, row in rows
    ]
    names = sorted({name for row in full for name in row})
    columns = {name: [row.get(name) for row in full] for name in names}
    by_rows, by_columns = stamped({"upsert_rows": full}), stamped({"upsert_columns": columns})
    assert by_rows.puts.ids == by_columns.puts.ids
    decoded = [msgspec.json.decode(body) for body in by_rows.puts.bodies]
    assert decoded == [msgspec.json.decode(body) for body in by_columns.puts.bodies]
    for row, attributes in zip(full, decoded, strict=True):
        kept = {k: v for k, v in row.items() if k != "id" and v is not None}
        assert attributes.items() >= kept.items()


def test_a_column_of_vectors_may_be_one_string() -> None:
    vectors = [[0.5, -1.0], [2.0, 0.25], [0.0, 3.0]]
    packed = [base64.b64encode(struct.pack("<2f", *vector)).decode() for vector in vectors]
    whole = base64.b64encode(b"".join(struct.pack("<2f", *vector) for vector in vectors)).decode()
    one, several = (
        stamped({"upsert_columns": {"id": [1, 2, 3], "vector": vector, "k": [7, 8, 9]}})
        for vector in (whole, packed)
    )
    assert sent(one)["upsert_columns"]["vector"] == whole
    assert one.puts == several.puts


@given(numbers=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_every_float32_vector_passes_in_either_form(numbers: list[float]) -> None:
    packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    for vector in (numbers, packed):
        write = stamped({"upsert_rows": [{"id": 1, "vector": vector}]})
        assert sent(write)["upsert_rows"][0]["vector"] == vector


@pytest.mark.parametrize(
    "vector",
    [
        "[1]",
        f"[{' ' * 100}1 ,2{' ' * 100}]",
        "[" + ",".join(["0.125"] * 100) + "]",
        '"AACAPw=="',
        f'"{"AACAPwAAAEAAAEBA" * 4}"',
        "null",
    ],
)
def test_a_vector_goes_on_byte_for_byte(vector: str) -> None:
    body = b'{"upsert_rows":[{"id":1,"vector":%b},{"id":2}]}' % vector.encode()
    write = stamped(body)
    assert b'"vector":' + vector.encode() + b"," in b"".join(write.body)
    kept = b"" if vector == "null" else b'{"vector":%b}' % vector.encode()
    assert write.puts.vector_objects() == [kept, b""]


@pytest.mark.parametrize("vector", ["[]", "[ ]", f"[{' ' * 100}]", '["a"]', "1", '""', '"AAA="'])
def test_what_cannot_be_a_vector_is_refused(vector: str) -> None:
    body = b'{"upsert_rows":[{"id":1,"vector":%b}]}' % vector.encode()
    with pytest.raises(InvalidRequestError) as caught:
        stamped(body)
    assert caught.value.reason == "VECTOR_INVALID"


def test_a_row_with_other_keys_than_the_one_before_is_checked_too() -> None:
    body = b'{"upsert_rows":[{"id":1,"a":1},{"id":2,"a":1},{"id":3,"_hevlayer_x":1}]}'
    with pytest.raises(InvalidRequestError) as caught:
        stamped(body)
    assert caught.value.metadata["field"].startswith("upsert_rows[2].")


def test_pipelines_say_of_which_document_a_row_is() -> None:
    body = b'{"upsert_rows":[{"id":"a","_hevlayer_parent_id":"d","_hevlayer_chunk_index":0}]}'

    def stamped_by(author: Author) -> bytes:
        return b"".join(stamped(body, author=author).body)

    for author in (Author.PIPELINE, Author.FUNCTION):
        assert b'"_hevlayer_parent_id":"d"' in stamped_by(author)
    with pytest.raises(InvalidRequestError) as caught:
        stamped_by(Author.CLIENT)
    assert caught.value.reason == "ATTRIBUTE_RESERVED"


def test_only_functions_write_what_rows_keep_of_functions() -> None:
    body = b'{"patch_rows":[{"id":"a","_hevlayer_udf_f_v":"v1"}]}'
    write = stamped(body, author=Author.FUNCTION)
    assert b'"_hevlayer_udf_f_v":"v1"' in b"".join(write.body)
    for name in ("_hevlayer_udf_f_v", "_hevlayer_cand_f_x", "_hevlayer_other"):
        other = b'{"patch_rows":[{"id":"a","%b":1}]}' % name.encode()
        with pytest.raises(InvalidRequestError) as caught:
            stamped(other, author=Author.FUNCTION if name == "_hevlayer_other" else Author.CLIENT)
        assert caught.value.reason == "ATTRIBUTE_RESERVED"


def test_many_rows_are_stamped_like_few_and_a_fault_names_its_row() -> None:
    rows = [{"id": at, "vector": [float(at)], "a": at} for at in range(2 * ROWS_AT_ONCE + 1)]
    write = stamped({"upsert_rows": rows})
    expected = {"_hevlayer_upserted_at": NOW_MS}
    shard_of = shards(range(len(rows)), 16)
    assert sent(write)["upsert_rows"] == [
        row | expected | {"_hevlayer_shard": shard}
        for row, shard in zip(rows, shard_of, strict=True)
    ]
    assert write.puts.ids == [b"u%d" % at for at in range(len(rows))]
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    by_columns = stamped({"upsert_columns": columns})
    assert by_columns.puts == write.puts
    assert sent(by_columns)["upsert_columns"]["_hevlayer_shard"] == shard_of
    for key, value in (("id", None), ("_hevlayer_x", 1), ("vector", "x")):
        body = {"upsert_rows": [*rows[:-1], rows[-1] | {key: value}]}
        with pytest.raises(InvalidRequestError) as caught:
            stamped(body)
        assert f"upsert_rows[{len(rows) - 1}].{key}" in caught.value.message
