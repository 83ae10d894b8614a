"""Filters of the store's JSON read into messages, and back to the same JSON."""

from __future__ import annotations

import msgspec
import pytest

from layer_kit.errors import InvalidRequestError
from layer_messages.filter_parsing import parse_filter
from layer_messages.filters import LEVELS_COUNT_MAX, NODES_COUNT_MAX, filter_json
from layer_wire.jsontext import encode

FILTERS = [
    ["kind", "Eq", "saw"],
    ["kind", "Eq", None],
    ["stock", "Gte", 2.5],
    ["id", "In", [1, 18446744073709551615]],
    ["tags", "ContainsAny", ["a", "b"]],
    ["Not", ["done", "Eq", True]],
    ["And", [["a", "Eq", 1], ["Or", [["b", "Lt", 2], ["c", "Glob", "x*"]]]]],
    ["And", "Eq", "an attribute of this name"],
    ["text", "ContainsAllTokens", "red shoes", {"last_as_prefix": True}],
    [
        "text",
        "Fuzzy",
        "shoes",
        {"max_edit_distance": [{"min_query_chars": 3, "distance": 0}], "case_sensitive": False},
    ],
]


@pytest.mark.parametrize("found", FILTERS, ids=str)
def test_a_filter_reads_back_as_it_was_written(found: list[object]) -> None:
    assert (
        msgspec.json.decode(encode(filter_json(parse_filter(found, "filter"), "filter"))) == found
    )


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ("kind", "filter"),
        ([], "filter"),
        (["kind", "Eq"], "filter"),
        (["", "Eq", 1], "filter"),
        (["kind", "Equals", 1], "filter"),
        (["And", []], "filter"),
        (["And", [["kind", "Eq", 1], ["kind"]]], "filter[1][1]"),
        (["Not", ["kind", "Eq", {"$ref_new": "other"}]], "filter[1]"),
        (["kind", "Eq", 1, {"last_as_prefix": True}], "filter"),
        (["kind", "Fuzzy", "word"], "filter"),
        (["kind", "Fuzzy", "word", {"max_edit_distance": [{"distance": 1}]}], "filter"),
        (["kind", "Fuzzy", "word", {"max_edit_distance": []}], "filter"),
        (
            [
                "k",
                "Fuzzy",
                "w",
                {"max_edit_distance": [{"min_query_chars": 3, "distance": 0}], "x": 1},
            ],
            "filter",
        ),
        (["Or", [["n", "Eq", 1]] * (NODES_COUNT_MAX + 1)], f"filter[1][{NODES_COUNT_MAX - 1}]"),
    ],
    ids=lambda found: str(found)[:40],
)
def test_what_is_no_filter_is_refused_with_its_place(found: object, where: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_filter(found, "filter")
    assert caught.value.reason == "FILTER_INVALID"
    assert caught.value.metadata["where"] == where


def test_a_filter_is_no_deeper_than_its_bound() -> None:
    found: list[object] = ["n", "Eq", 1]
    for _ in range(LEVELS_COUNT_MAX - 1):
        found = ["Not", found]
    parse_filter(found, "filter")
    with pytest.raises(InvalidRequestError):
        parse_filter(["Not", found], "filter")
