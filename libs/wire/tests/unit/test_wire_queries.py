"""Whose query it is, how a Layer query is checked, and what goes upstream for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import InvalidRequestError
from layer_wire import filters
from layer_wire.cursors import Cursor, parse_cursor
from layer_wire.queries import decode_query, is_native, parse_layer_query


def encoded(body: object) -> bytes:
    return msgspec.json.encode(body)


@pytest.mark.parametrize(
    "body",
    [
        {"rank_by": ["id", "asc"]},
        {"rank_by": ["id", "asc"], "top_k": None},
        {"queries": []},
        {"aggregate_by": {"n": ["Count"]}},
        {"rank_by": ["v", "ANN", [1]], "top_k": 1, "limit": 1},
        {"rank_by": ["v", "ANN", [1]], "top_k": 1, "exclude_attributes": ["a"]},
        {"vector": [1], "vector_encoding": "base64"},
        {"rank_by": ["v", "ANN", [1]], "top_k": 1, "rerank_by": ["RRF"]},
    ],
)
def test_queries_of_the_store_alone_are_native(body: object) -> None:
    assert is_native(decode_query(encoded(body)))


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"vector": [1]},
        {"rank_by": ["v", "ANN", [1]], "top_k": 1},
        {"nearest_to_id": []},
        {"vector": [1], "rank_by": None, "limit": None, "queries": None},
    ],
)
def test_layer_queries_are_not(body: object) -> None:
    assert not is_native(decode_query(encoded(body)))


def filters_of(body: object) -> Any:
    query = parse_layer_query(encoded(body))
    assert query.written is not None
    return msgspec.json.decode(filters.nested(query.filter, query.written.filter) or b"null")


def test_the_attribute_vector_is_never_asked_for() -> None:
    query = parse_layer_query(encoded({"vector": [0.1], "include_attributes": ["kind", "vector"]}))
    assert (query.include_attributes, query.drops_vector) == (["kind"], True)


@pytest.mark.parametrize(
    ("time", "span"),
    [
        ({"as_of": 7}, ["_hevlayer_upserted_at", "Lte", 7]),
        (
            {"between": [5, 7]},
            ["And", [["_hevlayer_upserted_at", "Gt", 5], ["_hevlayer_upserted_at", "Lte", 7]]],
        ),
    ],
)
def test_time_is_a_filter_around_the_callers_own(time: dict[str, object], span: object) -> None:
    own = ["kind", "Eq", "saw"]
    assert filters_of({"vector": [1.0], **time}) == span
    assert filters_of({"vector": [1.0], "filters": own, **time}) == ["And", [own, span]]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "exactly one"),
        ({"vector": [1], "nearest_to_id": ["a"]}, "exactly one"),
        ({"vector": []}, "vector"),
        ({"nearest_to_id": []}, "nearest_to_id"),
        ({"vector": [1], "top_k": 0}, "top_k"),
        ({"vector": [1], "top_k": "many"}, "top_k"),
        ({"vector": [1], "as_of": 1, "between": [1, 2]}, "as_of"),
        ({"vector": [1], "as_of": 2**63}, "as_of"),
        ({"vector": [1], "as_of": -(2**63) - 1}, "as_of"),
        ({"vector": [1], "between": [0, 2**63]}, "between"),
        ({"vector": [1], "between": [-(10**30), 0]}, "between"),
        ({"vector": [1], "between": [2, 2]}, "between"),
        ({"vector": [1], "between": [1, 2, 3]}, "between"),
        ({"vector": [1], "cursor": "%%%"}, "cursor"),
        ({"vector": [1], "cursor": "e30"}, "cursor"),
        ({"vector": [1], "include_attributes": 7}, "include_attributes"),
    ],
)
def test_a_bad_query_is_refused_by_the_name_of_its_field(body: object, word: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        parse_layer_query(encoded(body))
    assert word in refusal.value.message


def test_null_fields_count_as_absent() -> None:
    query = parse_layer_query(
        encoded({"vector": [1], "rank_by": None, "filters": None, "top_k": None})
    )
    assert (query.rank_by, query.filter, query.top_k) == (None, None, 10)


def test_the_documented_cursor_is_read_and_written() -> None:
    cursor = Cursor(distance=0.25, id="t-5", count=3)
    assert cursor.encode() == "eyJkaXN0IjowLjI1LCJpZCI6InQtNSIsIm4iOjN9"
    assert parse_cursor(cursor.encode()) == cursor
    assert parse_cursor("eyJkaXN0IjowLjI1LCJpZCI6InQtNSJ9").count is None


@given(
    distance=st.floats(allow_nan=False, allow_infinity=False),
    id_=st.integers(0, 2**64 - 1) | st.text(max_size=64),
    count=st.integers(0, 10_000),
)
def test_a_cursor_survives_the_round_trip(distance: float, id_: int | str, count: int) -> None:
    cursor = Cursor(distance=distance, id=id_, count=count)
    assert parse_cursor(cursor.encode()) == cursor
