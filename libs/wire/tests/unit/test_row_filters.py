"""Which filters are evaluated over cached rows, and which are left to the store.

That those evaluated keep the rows that the store keeps is tests/e2e's to show.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from layer_kit.errors import UnsupportedError
from layer_wire.row_filters import FILTER_BYTES_MAX, PARTS_MAX, RowFilter, compile_filter

TYPES = {
    "id": "string",
    "title": "string",
    "year": "int",
    "price": "float",
    "sold": "bool",
    "tags": "[]string",
    "seen": "datetime",
    'a"b': "string",
}
BODY = b'{"title":"Emma","year":1815,"tags":["novel"],"vast":{"never":["decoded",NaN]}}'


def compiled(*filter_: Any) -> RowFilter:
    return compile_filter(msgspec.json.encode(filter_), TYPES)


def keeps(filter_: RowFilter, row_id: bytes, body: bytes) -> bool:
    return filter_.matches([row_id], [body]) == [True]


@pytest.mark.parametrize(
    "filter_",
    [
        ["year", "Contains", 1815],
        ["title", "Glob", "E*"],
        ["title", "eq", "Emma"],
        ["unknown", "Eq", 1],
        ["seen", "Gt", "1999-01-01"],
        ["$dist", "Lt", 1],
        ['a"b', "Eq", "x"],
        ["tags", "Lt", "novel"],
        ["tags", "Eq", []],
        ["tags", "In", "novel"],
        ["tags", "In", ["novel", None]],
        ["sold", "Gt", False],
        ["year", "Gte", None],
        ["year", "Eq", "1815"],
        ["year", "Eq", 1815.5],
        ["year", "Eq", True],
        ["year", "Eq", 2**63],
        ["year", "In", 1815],
        ["price", "Lt", 10**400],
        ["title", "Eq", 1],
        ["title", "Eq", "Emma", {"some": "option"}],
        ["title", "Eq", {"$ref_new": "title"}],
        ["And", []],
        ["Or", []],
        ["And", ["title", "Eq", "Emma"]],
        ["Xor", [["year", "Eq", 1]]],
        {"title": "Emma"},
        "title",
        [],
    ],
    ids=str,
)
def test_what_is_unsure_is_left_to_the_store(filter_: Any) -> None:
    with pytest.raises(UnsupportedError) as caught:
        compile_filter(msgspec.json.encode(filter_), TYPES)
    assert caught.value.reason == "FILTER_UNSUPPORTED"


def nested(depth: int) -> Any:
    filter_: Any = ["year", "Eq", 1]
    for _ in range(depth):
        filter_ = ["Not", filter_]
    return filter_


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b'["title","Eq","\xff"]',
        b"[" * 100_000,
        msgspec.json.encode(nested(40)),
        msgspec.json.encode(["title", "Eq", "x" * FILTER_BYTES_MAX]),
        msgspec.json.encode(["Or", [["year", "Eq", year] for year in range(PARTS_MAX)]]),
    ],
    ids=["empty", "cut", "no UTF-8", "deep", "nested", "long", "wide"],
)
def test_text_that_is_no_filter_of_ours_is_left_to_the_store(text: bytes) -> None:
    with pytest.raises(UnsupportedError):
        compile_filter(text, TYPES)


def test_only_what_the_filter_names_is_decoded() -> None:
    assert keeps(compiled("year", "Eq", 1815), b"s1", BODY.replace(b"NaN", b"null"))
    assert keeps(compiled("id", "In", ["1", "2"]), b"s1", b"{}")


def test_names_with_escapes_are_found() -> None:
    assert keeps(compiled("title", "Eq", "Emma"), b"s1", rb'{"t\u0069tle":"Emm\u0061"}')


@pytest.mark.parametrize(
    ("row_id", "body"),
    [
        (b"s1", b'{"year":"1815"}'),
        (b"s1", b'{"year":'),
        (b"s1", b"[]"),
        (b"s1", b'{"deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        (b"u1", b'{"year":1815}'),
    ],
    ids=["another type", "cut", "no object", "deep", "another kind of id"],
)
def test_a_row_that_is_not_as_the_types_say_is_left_to_the_store(
    row_id: bytes, body: bytes
) -> None:
    filter_ = compiled("And", [["id", "NotEq", "2"], ["year", "Eq", 1815]])
    with pytest.raises(UnsupportedError):
        keeps(filter_, row_id, body)


def test_numbers_are_equal_by_value_and_missing_is_null() -> None:
    is_one = compiled("year", "Eq", 1.0)
    assert keeps(is_one, b"s1", b'{"year":1}')
    assert keeps(is_one, b"s1", b'{"year":1.0}')
    before = compiled("year", "Lte", -5)
    assert keeps(before, b"s1", b"{}")
    assert keeps(before, b"s1", b'{"year":null}')
    assert not keeps(compiled("year", "Gte", -5), b"s1", b"{}")
    assert keeps(compiled("year", "NotIn", [1]), b"s1", b"{}")
    assert not keeps(compiled("year", "NotIn", [1, None]), b"s1", b"{}")
