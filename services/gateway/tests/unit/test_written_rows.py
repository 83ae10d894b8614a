"""Which rows a write has written, as functions are told of them."""

from __future__ import annotations

from typing import Any

import pytest

from layer.runtime.v1 import runtime_pb2
from layer_gateway.adapters.written_rows import in_parts, written_rows
from layer_kit.names import Namespace
from layer_kit.turns import at_once
from layer_wire.jsontext import encode

BOOKS = Namespace("books")


def told(body: dict[str, Any], answer: dict[str, Any]) -> list[tuple[list[str], bool, list[str]]]:
    found = at_once(written_rows(BOOKS, encode(body), encode(answer)))
    return [
        ([id_.text for id_ in write.ids], write.is_partial, list(write.attribute_names))
        for write in found
    ]


@pytest.mark.parametrize(
    ("body", "answer", "expected"),
    [
        ({"upsert_rows": [{"id": "a", "n": 1}, {"id": 7}]}, {}, [(["a", "7"], False, [])]),
        ({"upsert_columns": {"id": ["a"], "n": [1]}}, {}, [(["a"], False, [])]),
        (
            {"patch_rows": [{"id": "a", "n": 1}, {"id": "b", "m": 1}]},
            {},
            [(["a", "b"], True, ["m", "n"])],
        ),
        ({"patch_columns": {"id": ["a"], "n": [1]}}, {}, [(["a"], True, ["n"])]),
        (
            {"upsert_rows": [{"id": "a"}, {"id": "b"}], "upsert_condition": ["n", "Lt", 1]},
            {"upserted_ids": ["b"], "rows_affected": 1},
            [(["b"], False, [])],
        ),
        (
            {"patch_by_filter": {"filters": ["n", "Eq", 1], "patch": {"m": 2}}},
            {"patched_ids": ["a", "b"], "rows_affected": 2},
            [(["a", "b"], True, ["m"])],
        ),
        ({"deletes": ["a"]}, {}, []),
        ({"schema": {"n": "int"}}, {}, []),
    ],
)
def test_a_write_tells_its_rows(
    body: dict[str, Any],
    answer: dict[str, Any],
    expected: list[tuple[list[str], bool, list[str]]],
) -> None:
    assert told(body, answer) == expected


def test_long_writes_are_told_in_parts_that_lose_nothing() -> None:
    body = encode({"upsert_rows": [{"id": at} for at in range(25)]})
    writes = at_once(written_rows(BOOKS, body, b"{}")) * 2
    parts = list(in_parts(writes, 10))
    counts = [sum(len(write.ids) for write in part.writes) for part in parts]
    assert counts == [10, 10, 10, 10, 10]
    ids = [id_.text for part in parts for write in part.writes for id_ in write.ids]
    assert ids == [str(at) for at in range(25)] * 2
    assert list(in_parts([], 10)) == []
    assert list(in_parts([runtime_pb2.WrittenRows(namespace=BOOKS)], 10)) == []
