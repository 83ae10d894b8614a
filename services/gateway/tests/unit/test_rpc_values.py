"""Values, ids and rows between typed messages and JSON."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from layer.common.v1 import common_pb2
from layer.common.v1.common_pb2 import Value
from layer_gateway.application.facts import NamespaceFacts
from layer_gateway.application.sharding import Sharding
from layer_gateway.rpc.rows import RowReader, row_json
from layer_kit.errors import InvalidRequestError
from layer_messages.ids import id_json, id_message
from layer_messages.values import fill_value, value_json
from layer_wire.ids import IdKind, JsonId
from layer_wire.jsontext import encode
from layer_wire.moments import epoch_ms, rfc3339

U64_MAX = 2**64 - 1
EARLIEST_MS = -62_135_596_800_000
LATEST_MS = 253_402_300_799_999

finite = st.floats(allow_nan=False, allow_infinity=False)
finite32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
texts = st.text(st.characters(codec="utf-8"))
moments_ms = st.integers(EARLIEST_MS, LATEST_MS)


def vector(*components: float) -> common_pb2.Vector:
    data = struct.pack(f"<{len(components)}f", *components)
    return common_pb2.Vector(dimension=len(components), data=data)


def date_time(at_ms: int) -> Value:
    return Value(date_time_value=common_pb2.DateTime(epoch_ms=at_ms))


def uuid_value(text: object) -> Value:
    return Value(uuid_value=common_pb2.Uuid(text=str(text)))


def listed(values: list[Value]) -> Value:
    return Value(list_value=common_pb2.ValueList(values=values))


def number(value: int) -> Value:
    return Value(int_value=value) if value < 2**63 else Value(large_int_value=str(value))


def sparse(weights: dict[str, float]) -> Value:
    return Value(
        sparse_vector_value=common_pb2.SparseVector(
            dimensions=list(weights), weights=list(weights.values())
        )
    )


SCALARS: dict[str, st.SearchStrategy[Value]] = {
    "string": texts.map(lambda text: Value(string_value=text)),
    "int": st.integers(-(2**63), 2**63 - 1).map(number),
    "uint": st.integers(0, U64_MAX).map(number),
    "float": finite.map(lambda found: Value(double_value=found)),
    "bool": st.booleans().map(lambda found: Value(bool_value=found)),
    "datetime": moments_ms.map(date_time),
    "uuid": st.uuids().map(uuid_value),
}
dense = st.lists(finite32, min_size=1, max_size=8).map(lambda found: vector(*found))
several = st.integers(1, 4).flatmap(
    lambda size: st.lists(
        st.lists(finite32, min_size=size, max_size=size).map(lambda found: vector(*found)),
        min_size=1,
        max_size=3,
    )
)
typed_values = st.one_of(
    *(st.tuples(st.just(type_), values) for type_, values in SCALARS.items()),
    *(
        st.tuples(st.just(f"[]{type_}"), st.lists(values, max_size=4).map(listed))
        for type_, values in SCALARS.items()
    ),
    st.tuples(st.just("[8]f32"), dense.map(lambda found: Value(vector_value=found))),
    st.tuples(
        st.just("[][8]f32"),
        several.map(lambda found: Value(vector_list_value=common_pb2.VectorList(vectors=found))),
    ),
    st.tuples(
        st.just("{}f16"), st.dictionaries(texts, finite32, min_size=1, max_size=4).map(sparse)
    ),
)


def as_json(value: Value) -> Any:
    return msgspec.json.decode(encode(value_json(value, "here")))


def read(text: bytes, type_: str) -> Value:
    value = Value()
    fill_value(value, msgspec.Raw(text), type_)
    return value


@given(typed_values)
def test_a_value_comes_back_by_the_type_of_its_attribute(typed: tuple[str, Value]) -> None:
    type_, value = typed
    assert read(encode(value_json(value, "here")), type_) == value


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), U64_MAX) | finite | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["", "string", "float", "datetime", "[]uuid", "[2]f32", "[][2]f32", "{}f16"]),
)
def test_any_json_is_read_whatever_type_was_expected(found: Any, type_: str) -> None:
    assert read(encode(found), type_).WhichOneof("kind") is not None


@given(st.none() | st.booleans() | st.integers(-(2**63), U64_MAX) | finite | texts)
def test_json_without_a_type_is_taken_for_what_it_looks_like(found: Any) -> None:
    shown = as_json(read(encode(found), ""))
    assert (type(shown), shown) == (type(found), found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Value(large_int_value=str(U64_MAX)), U64_MAX),
        (Value(int_value=-(2**63)), -(2**63)),
        (Value(double_value=3.0), 3.0),
        (date_time(1_704_164_645_678), "2024-01-02T03:04:05.678Z"),
        (
            Value(vector_value=vector(1.0, -0.5)),
            base64.b64encode(struct.pack("<2f", 1, -0.5)).decode(),
        ),
        (
            Value(vector_list_value=common_pb2.VectorList(vectors=[vector(1.0), vector(0.5)])),
            [[1.0], [0.5]],
        ),
        (sparse({"a": 0.5}), {"a": 0.5}),
        (Value(json_value=b' {"deep": [1, {}]}'), {"deep": [1, {}]}),
        (listed([]), []),
        (listed([Value(int_value=1), Value(null_value=struct_pb2.NULL_VALUE)]), [1, None]),
    ],
)
def test_values_are_written_as_the_store_takes_them(value: Value, expected: object) -> None:
    assert as_json(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Value(), "VALUE_INVALID"),
        (Value(double_value=float("nan")), "VALUE_INVALID"),
        (Value(double_value=float("inf")), "VALUE_INVALID"),
        (Value(large_int_value=str(2**63 - 1)), "VALUE_INVALID"),
        (Value(large_int_value=str(2**64)), "VALUE_INVALID"),
        (Value(large_int_value="-9223372036854775808"), "VALUE_INVALID"),
        (date_time(LATEST_MS + 1), "VALUE_INVALID"),
        (date_time(2**63 - 1), "VALUE_INVALID"),
        (uuid_value("0F0E0D0C-0000-0000-0000-000000000000"), "VALUE_INVALID"),
        (listed([listed([])]), "VALUE_INVALID"),
        (listed([Value(vector_value=vector(1.0))]), "VALUE_INVALID"),
        (listed([Value()]), "VALUE_INVALID"),
        (Value(json_value=b"{"), "VALUE_INVALID"),
        (Value(json_value=b'"\xff"'), "VALUE_INVALID"),
        (Value(json_value=b"[" * 5000), "VALUE_INVALID"),
        (Value(vector_value=common_pb2.Vector()), "VECTOR_INVALID"),
        (Value(vector_value=common_pb2.Vector(dimension=2, data=b"1234")), "VECTOR_INVALID"),
        (Value(vector_value=common_pb2.Vector(dimension=-1)), "VECTOR_INVALID"),
        (Value(vector_value=vector(1.0, float("inf"), float("-inf"))), "VECTOR_INVALID"),
        (Value(vector_value=vector(float("nan"))), "VECTOR_INVALID"),
        (Value(vector_list_value=common_pb2.VectorList()), "VECTOR_INVALID"),
        (
            Value(vector_list_value=common_pb2.VectorList(vectors=[vector(1), vector(1, 2)])),
            "VECTOR_INVALID",
        ),
        (sparse({}), "VECTOR_INVALID"),
        (
            Value(sparse_vector_value=common_pb2.SparseVector(dimensions=["a"])),
            "VECTOR_INVALID",
        ),
        (
            Value(
                sparse_vector_value=common_pb2.SparseVector(
                    dimensions=["a", "a"], weights=[1.0, 2.0]
                )
            ),
            "VECTOR_INVALID",
        ),
        (sparse({"a": float("nan")}), "VECTOR_INVALID"),
    ],
)
def test_what_json_cannot_say_is_refused_by_its_place(value: Value, reason: str) -> None:
    with pytest.raises(InvalidRequestError, match="upserts") as refusal:
        value_json(value, "upserts[3].a")
    assert refusal.value.reason == reason


def test_the_largest_floats_are_finite() -> None:
    largest = vector(struct.unpack("<f", b"\xff\xff\x7f\x7f")[0], -1.0)
    assert as_json(Value(vector_value=largest)) == base64.b64encode(largest.data).decode()


def test_a_vector_is_read_from_numbers_and_from_base64() -> None:
    data = struct.pack("<2f", 0.7, -1)
    text = base64.b64encode(data).decode()
    for found in ([0.7, -1], text):
        assert read(encode(found), "[2]f16").vector_value.data == data
    assert len(read(encode([[0.7, -1], text]), "[][2]f32").vector_list_value.vectors) == 2


@given(moments_ms)
def test_a_moment_survives_the_round_trip(at_ms: int) -> None:
    text = rfc3339(at_ms)
    assert text is not None
    assert epoch_ms(text) == at_ms


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01", 1000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.001999999Z", 1),
        ("1969-12-31T23:59:59.9995Z", -1),
        ("yesterday", None),
        ("", None),
    ],
)
def test_moments_are_read_as_the_store_prints_them(text: str, expected_ms: int | None) -> None:
    assert epoch_ms(text) == expected_ms


@given(
    st.one_of(
        st.tuples(st.integers(0, U64_MAX), st.just(IdKind.UNSIGNED)),
        st.tuples(st.text("aé0-", min_size=1, max_size=32), st.just(IdKind.STRING)),
        st.tuples(st.uuids().map(str), st.just(IdKind.UUID)),
    )
)
def test_an_id_survives_the_round_trip(id_of_kind: tuple[JsonId, IdKind]) -> None:
    value, kind = id_of_kind
    assert id_json(id_message(value, kind), "id") == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (common_pb2.DOCUMENT_ID_KIND_UNSPECIFIED, "1"),
        (common_pb2.DOCUMENT_ID_KIND_INTEGER, ""),
        (common_pb2.DOCUMENT_ID_KIND_INTEGER, "01"),
        (common_pb2.DOCUMENT_ID_KIND_INTEGER, "-1"),
        (common_pb2.DOCUMENT_ID_KIND_INTEGER, "٣"),
        (common_pb2.DOCUMENT_ID_KIND_INTEGER, str(2**64)),
        (common_pb2.DOCUMENT_ID_KIND_INTEGER, "9" * 5000),
        (common_pb2.DOCUMENT_ID_KIND_STRING, ""),
        (common_pb2.DOCUMENT_ID_KIND_STRING, "é" * 33),
        (common_pb2.DOCUMENT_ID_KIND_UUID, "0F0E0D0C-0000-0000-0000-000000000000"),
        (common_pb2.DOCUMENT_ID_KIND_UUID, "0f0e0d0c000000000000000000000000"),
    ],
)
def test_ids_out_of_canonical_form_are_refused(
    kind: common_pb2.DocumentIdKind.ValueType, text: str
) -> None:
    with pytest.raises(InvalidRequestError, match="here") as refusal:
        id_json(common_pb2.DocumentId(kind=kind, text=text), "here")
    assert refusal.value.reason == "ID_INVALID"


def test_a_row_is_one_object() -> None:
    row = common_pb2.Row(id=id_message(7, None), attributes={"kind": Value(string_value="saw")})
    assert row_json(row, "upserts[0]") == {"id": 7, "kind": "saw"}
    row.attributes["id"].int_value = 8
    with pytest.raises(InvalidRequestError) as refusal:
        row_json(row, "upserts[0]")
    assert refusal.value.reason == "ROW_INVALID"


def test_a_row_is_read_by_the_types_of_its_namespace_without_nulls_and_ranks() -> None:
    facts = NamespaceFacts(
        exists=True,
        id_kind=IdKind.UUID,
        types={"at": "datetime", "score": "float"},
        unmirrored=frozenset(),
        sharding=Sharding(shard_count=1),
    )
    id_ = "0f0e0d0c-0000-0000-0000-000000000000"
    found = {"id": id_, "at": "1970-01-01T00:00:00.007Z", "score": 3, "$dist": 0.5, "none": None}
    raw_row = {name: msgspec.Raw(encode(value)) for name, value in found.items()}
    assert RowReader(facts).row(raw_row) == common_pb2.Row(
        id=common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_UUID, text=id_),
        attributes={"at": date_time(7), "score": Value(double_value=3.0)},
    )
