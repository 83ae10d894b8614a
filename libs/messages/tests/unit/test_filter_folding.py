"""What is left of filters where the schema lacks what they are about."""

from __future__ import annotations

from itertools import compress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_messages.filter_folding import fold_filter, is_foldable
from layer_messages.filter_parsing import parse_filter
from layer_messages.filters import OPERATORS, filter_json
from layer_wire.row_filters import compile_filter

HAD = {"id": "string", "title": "string", "year": "int"}
LACKED = {"summary": "string", "size": "int", "sold": "bool", "tags": "[]string"}
ROWS = [
    (b"sa", b'{"title":"Emma","year":1815}'),
    (b"sb", b'{"title":"Middlemarch"}'),
    (b"sc", b"{}"),
]

texts, numbers = st.sampled_from(["", "Emma", "b"]), st.integers(-1, 1816)


def ordered(names: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Every comparison of scalars that cached rows can be filtered by."""
    attributes = st.sampled_from(names)
    return st.one_of(
        st.tuples(attributes, st.sampled_from(["Eq", "NotEq"]), st.none() | values).map(list),
        st.tuples(attributes, st.sampled_from(["Lt", "Lte", "Gt", "Gte"]), values).map(list),
        st.tuples(
            attributes, st.sampled_from(["In", "NotIn"]), st.lists(st.none() | values, max_size=3)
        ).map(list),
    )


lists = st.lists(texts, min_size=1, max_size=3)
on_arrays = st.one_of(
    st.tuples(st.just("tags"), st.sampled_from(["Eq", "NotEq"]), st.none() | lists).map(list),
    st.tuples(st.just("tags"), st.sampled_from(["In", "NotIn"]), lists).map(list),
)
on_flags = st.tuples(
    st.just("sold"), st.sampled_from(["Eq", "NotEq"]), st.none() | st.booleans()
).map(list)
comparisons = st.one_of(
    ordered(["title", "summary"], texts),
    ordered(["year", "size"], numbers),
    ordered(["id"], st.sampled_from(["a", "b"])),
    on_arrays,
    on_flags,
)
filters = st.recursive(
    comparisons,
    lambda parts: st.one_of(
        st.tuples(st.sampled_from(["And", "Or"]), st.lists(parts, min_size=1, max_size=4)).map(
            list
        ),
        parts.map(lambda part: ["Not", part]),
    ),
    max_leaves=12,
)


def kept(filter_: Any, types: dict[str, str]) -> list[bytes]:
    """Return the ids of the rows that match, by the rules that cached rows are filtered by."""
    compiled = compile_filter(msgspec.json.encode(_without_single(filter_)), types)
    ids, bodies = zip(*ROWS, strict=True)
    return list(compress(ids, compiled.matches(ids, bodies)))


def _without_single(filter_: Any) -> Any:
    """Return the same filter without lists of one, which those rules leave to the store."""
    match filter_:
        case ["And" | "Or", [only]]:
            return _without_single(only)
        case ["And" | "Or" as joint, [*parts]]:
            return [joint, [_without_single(part) for part in parts]]
        case ["Not", part]:
            return ["Not", _without_single(part)]
        case _:
            return filter_


@given(filter_=filters)
def test_what_is_left_keeps_the_rows_that_all_of_it_would_if_the_attributes_were_there(
    filter_: Any,
) -> None:
    tree = parse_filter(filter_, "filter")
    folded = fold_filter(tree, HAD)
    if isinstance(folded, bool):
        found = [row_id for row_id, _ in ROWS] if folded else []
    else:
        assert not is_foldable(folded, HAD)
        found = kept(filter_json(folded, "filter"), HAD)
    assert found == kept(filter_, HAD | LACKED)


@given(filter_=filters)
def test_a_filter_about_what_there_is_stays_as_it_is(filter_: Any) -> None:
    tree = parse_filter(filter_, "filter")
    types = HAD | LACKED
    assert not is_foldable(tree, types)
    assert fold_filter(tree, types) == tree


@pytest.mark.parametrize(
    ("operator", "operand", "expected"),
    [
        ("Lt", None, False),
        ("Lte", None, True),
        ("Gt", None, False),
        ("Gte", None, True),
        ("Contains", "x", False),
        ("NotContains", "x", True),
        ("ContainsAny", ["x"], False),
        ("NotContainsAny", ["x"], True),
        ("AnyLt", "x", False),
        ("AnyLte", "x", False),
        ("AnyGt", "x", False),
        ("AnyGte", "x", False),
        ("Glob", "*", False),
        ("NotGlob", "*", True),
        ("IGlob", "*", False),
        ("NotIGlob", "*", True),
        ("Regex", ".*", False),
        ("ContainsAllTokens", "x", False),
        ("ContainsAnyToken", "x", False),
        ("ContainsTokenSequence", "x", False),
    ],
)
def test_null_fulfils_what_the_store_says_that_it_does(
    operator: str,
    operand: object,
    expected: bool,  # noqa: FBT001
) -> None:
    assert operator in OPERATORS.values()
    assert fold_filter(parse_filter(["gone", operator, operand], "filter"), HAD) is expected


@pytest.mark.parametrize("name", ["id", "$score"])
def test_names_that_no_schema_has_are_left_to_the_store(name: str) -> None:
    tree = parse_filter([name, "Eq", None], "filter")
    assert fold_filter(tree, ()) == tree
