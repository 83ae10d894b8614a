"""Filters between typed messages and the store's arrays."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from layer.common.v1 import common_pb2
from layer.common.v1.common_pb2 import Comparison, Filter, FilterList, Value
from layer_kit.errors import InvalidRequestError
from layer_messages.filters import LEVELS_COUNT_MAX, NODES_COUNT_MAX, OPERATORS, filter_json
from layer_wire.jsontext import encode

EQUAL = common_pb2.COMPARISON_OPERATOR_EQUAL
FUZZY = common_pb2.COMPARISON_OPERATOR_FUZZY
ALL_TOKENS = common_pb2.COMPARISON_OPERATOR_CONTAINS_ALL_TOKENS
BY_NAME = {name: operator for operator, name in OPERATORS.items()}

texts = st.text(st.characters(codec="utf-8"), max_size=8)
scalars = st.one_of(
    st.just(Value(null_value=struct_pb2.NULL_VALUE)),
    st.booleans().map(lambda found: Value(bool_value=found)),
    st.integers(-(2**63), 2**63 - 1).map(lambda found: Value(int_value=found)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda f: Value(double_value=f)),
    texts.map(lambda found: Value(string_value=found)),
)
operands = scalars | st.lists(scalars, max_size=3).map(
    lambda found: Value(list_value=common_pb2.ValueList(values=found))
)
plain_operators = st.sampled_from([found for found in OPERATORS if found != FUZZY])
comparisons = st.one_of(
    st.builds(
        lambda name, operator, value: Comparison(attribute=name, operator=operator, value=value),
        texts.filter(bool),
        plain_operators,
        operands,
    ),
    st.builds(
        lambda name, operator, new: Comparison(
            attribute=name, operator=operator, new_attribute=new
        ),
        texts.filter(bool),
        plain_operators,
        texts,
    ),
    st.builds(
        lambda name, is_prefix: Comparison(
            attribute=name,
            operator=ALL_TOKENS,
            value=Value(string_value="words"),
            tokens=common_pb2.TokenOptions(is_last_token_prefix=is_prefix),
        ),
        texts.filter(bool),
        st.booleans(),
    ),
    st.builds(
        lambda name, edits, is_sensitive: Comparison(
            attribute=name,
            operator=FUZZY,
            value=Value(string_value="word"),
            fuzzy=common_pb2.FuzzyOptions(
                rules=[
                    common_pb2.FuzzyRule(query_length_min=3 * (edit + 1), edit_distance_max=edit)
                    for edit in range(edits)
                ],
                is_case_sensitive=is_sensitive,
            ),
        ),
        texts.filter(bool),
        st.integers(1, 3),
        st.booleans(),
    ),
).map(lambda found: Filter(comparison=found))
trees = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda f: Filter(all=FilterList(filters=f))),
        st.lists(inner, min_size=1, max_size=3).map(lambda f: Filter(any=FilterList(filters=f))),
        inner.map(lambda found: Filter(negated=found)),
    ),
    max_leaves=12,
)


def read_tree(found: Any) -> Filter:
    """Read the store's form the other way, independently of what is under test."""
    match found:
        case ["And", [*inner]] if inner and all(isinstance(node, list) for node in inner):
            return Filter(all=FilterList(filters=[read_tree(node) for node in inner]))
        case ["Or", [*inner]] if inner and all(isinstance(node, list) for node in inner):
            return Filter(any=FilterList(filters=[read_tree(node) for node in inner]))
        case ["Not", inner]:
            return Filter(negated=read_tree(inner))
        case [name, operator, operand, *options]:
            comparison = Comparison(attribute=name, operator=BY_NAME[operator])
            if isinstance(operand, dict):
                comparison.new_attribute = operand["$ref_new"]
            else:
                comparison.value.CopyFrom(read_value(operand))
            read_options(comparison, options)
            return Filter(comparison=comparison)
        case _:
            raise AssertionError(found)


def read_options(comparison: Comparison, options: list[dict[str, Any]]) -> None:
    match options:
        case []:
            pass
        case [{"last_as_prefix": is_prefix}]:
            comparison.tokens.is_last_token_prefix = is_prefix
            comparison.tokens.SetInParent()
        case [{"max_edit_distance": rules, "case_sensitive": is_sensitive}]:
            comparison.fuzzy.is_case_sensitive = is_sensitive
            for rule in rules:
                comparison.fuzzy.rules.add(
                    query_length_min=rule["min_query_chars"], edit_distance_max=rule["distance"]
                )
        case _:
            raise AssertionError(options)


def read_value(found: Any) -> Value:
    match found:
        case None:
            return Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return Value(bool_value=found)
        case int():
            return Value(int_value=found)
        case float():
            return Value(double_value=found)
        case str():
            return Value(string_value=found)
        case [*items]:
            values = [read_value(item) for item in items]
            return Value(list_value=common_pb2.ValueList(values=values))
        case _:
            raise AssertionError(found)


def as_json(tree: Filter, *, is_condition: bool = False) -> Any:
    return msgspec.json.decode(encode(filter_json(tree, "filter", is_condition=is_condition)))


def equals(name: str, value: Value) -> Filter:
    return Filter(comparison=Comparison(attribute=name, operator=EQUAL, value=value))


def nested(level_count: int) -> Filter:
    tree = equals("a", Value(int_value=1))
    for _ in range(level_count - 1):
        tree = Filter(negated=tree)
    return tree


def joined(node_count: int) -> Filter:
    return Filter(all=FilterList(filters=[equals("a", Value(int_value=1))] * (node_count - 1)))


@given(trees)
def test_a_tree_survives_the_round_trip(tree: Filter) -> None:
    assert read_tree(as_json(tree, is_condition=True)) == tree


def test_every_operator_has_a_name_of_its_own() -> None:
    known = set(common_pb2.ComparisonOperator.values())
    assert set(OPERATORS) == known - {common_pb2.COMPARISON_OPERATOR_UNSPECIFIED}
    assert len(set(OPERATORS.values())) == len(OPERATORS)


def test_a_filter_is_spelled_as_the_contract_says() -> None:
    moment = Value(date_time_value=common_pb2.DateTime(epoch_ms=7))
    large = Value(large_int_value=str(2**64 - 1))
    tree = Filter(
        any=FilterList(filters=[equals("at", moment), Filter(negated=equals("id", large))])
    )
    assert as_json(tree) == [
        "Or",
        [["at", "Eq", "1970-01-01T00:00:00.007Z"], ["Not", ["id", "Eq", 2**64 - 1]]],
    ]


def test_trees_have_bounds() -> None:
    as_json(nested(LEVELS_COUNT_MAX))
    as_json(joined(NODES_COUNT_MAX))
    for tree in (nested(LEVELS_COUNT_MAX + 1), joined(NODES_COUNT_MAX + 1)):
        with pytest.raises(InvalidRequestError, match="at most 1024 nodes and 32 levels"):
            as_json(tree)


@pytest.mark.parametrize(
    ("tree", "reason", "place"),
    [
        (Filter(), "FILTER_INVALID", "filter:"),
        (Filter(all=FilterList()), "FILTER_INVALID", "filter.all:"),
        (Filter(any=FilterList(filters=[Filter()])), "FILTER_INVALID", r"filter.any\[0\]:"),
        (Filter(negated=Filter()), "FILTER_INVALID", "filter.negated:"),
        (Filter(comparison=Comparison(attribute="a")), "FILTER_INVALID", "filter.comparison:"),
        (Filter(comparison=Comparison(operator=EQUAL)), "FILTER_INVALID", "filter.comparison:"),
        (
            Filter(comparison=Comparison(attribute="a", operator=EQUAL)),
            "FILTER_INVALID",
            "an operand",
        ),
        (equals("a", Value()), "VALUE_INVALID", "filter.comparison.value:"),
        (
            equals("a", Value(vector_value=common_pb2.Vector())),
            "FILTER_INVALID",
            "vectors are not compared",
        ),
        (
            Filter(comparison=Comparison(attribute="a", operator=EQUAL, new_attribute="b")),
            "FILTER_INVALID",
            "new_attribute",
        ),
        (
            Filter(
                comparison=Comparison(
                    attribute="a", operator=FUZZY, value=Value(string_value="word")
                )
            ),
            "FILTER_INVALID",
            "fuzzy goes with",
        ),
        (
            Filter(
                comparison=Comparison(
                    attribute="a",
                    operator=FUZZY,
                    value=Value(string_value="word"),
                    fuzzy=common_pb2.FuzzyOptions(),
                )
            ),
            "FILTER_INVALID",
            "at least one rule",
        ),
        (
            Filter(
                comparison=Comparison(
                    attribute="a",
                    operator=EQUAL,
                    value=Value(string_value="word"),
                    tokens=common_pb2.TokenOptions(),
                )
            ),
            "FILTER_INVALID",
            "tokens goes with",
        ),
    ],
)
def test_what_is_no_filter_is_refused_by_its_place(tree: Filter, reason: str, place: str) -> None:
    with pytest.raises(InvalidRequestError, match=place) as refusal:
        as_json(tree)
    assert refusal.value.reason == reason
