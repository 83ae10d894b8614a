"""Filters: a typed tree in messages, nested arrays in JSON."""

from __future__ import annotations

from typing import Final

from layer.common.v1 import common_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.values import is_vector, value_json

NODES_COUNT_MAX: Final = 1024
LEVELS_COUNT_MAX: Final = 32

_FUZZY: Final = common_pb2.COMPARISON_OPERATOR_FUZZY
_ON_TOKENS: Final = frozenset(
    {
        common_pb2.COMPARISON_OPERATOR_CONTAINS_ALL_TOKENS,
        common_pb2.COMPARISON_OPERATOR_CONTAINS_ANY_TOKEN,
    }
)
OPERATORS: Final = {
    common_pb2.COMPARISON_OPERATOR_EQUAL: "Eq",
    common_pb2.COMPARISON_OPERATOR_NOT_EQUAL: "NotEq",
    common_pb2.COMPARISON_OPERATOR_IN: "In",
    common_pb2.COMPARISON_OPERATOR_NOT_IN: "NotIn",
    common_pb2.COMPARISON_OPERATOR_CONTAINS: "Contains",
    common_pb2.COMPARISON_OPERATOR_NOT_CONTAINS: "NotContains",
    common_pb2.COMPARISON_OPERATOR_CONTAINS_ANY: "ContainsAny",
    common_pb2.COMPARISON_OPERATOR_NOT_CONTAINS_ANY: "NotContainsAny",
    common_pb2.COMPARISON_OPERATOR_LESS: "Lt",
    common_pb2.COMPARISON_OPERATOR_LESS_OR_EQUAL: "Lte",
    common_pb2.COMPARISON_OPERATOR_GREATER: "Gt",
    common_pb2.COMPARISON_OPERATOR_GREATER_OR_EQUAL: "Gte",
    common_pb2.COMPARISON_OPERATOR_ANY_LESS: "AnyLt",
    common_pb2.COMPARISON_OPERATOR_ANY_LESS_OR_EQUAL: "AnyLte",
    common_pb2.COMPARISON_OPERATOR_ANY_GREATER: "AnyGt",
    common_pb2.COMPARISON_OPERATOR_ANY_GREATER_OR_EQUAL: "AnyGte",
    common_pb2.COMPARISON_OPERATOR_GLOB: "Glob",
    common_pb2.COMPARISON_OPERATOR_NOT_GLOB: "NotGlob",
    common_pb2.COMPARISON_OPERATOR_CASELESS_GLOB: "IGlob",
    common_pb2.COMPARISON_OPERATOR_NOT_CASELESS_GLOB: "NotIGlob",
    common_pb2.COMPARISON_OPERATOR_REGEX: "Regex",
    common_pb2.COMPARISON_OPERATOR_FUZZY: "Fuzzy",
    common_pb2.COMPARISON_OPERATOR_CONTAINS_ALL_TOKENS: "ContainsAllTokens",
    common_pb2.COMPARISON_OPERATOR_CONTAINS_ANY_TOKEN: "ContainsAnyToken",
    common_pb2.COMPARISON_OPERATOR_CONTAINS_TOKEN_SEQUENCE: "ContainsTokenSequence",
}
"""The store's name of each operator."""


def filter_json(tree: common_pb2.Filter, where: str, *, is_condition: bool = False) -> list[object]:
    """Return a filter as the store spells it.

    Args:
        is_condition: Whether it may compare with the row being written.

    Raises:
        InvalidRequestError: ``FILTER_INVALID`` or, of an operand, ``VALUE_INVALID``; the message
            names the place.
    """
    return _Translation(is_condition=is_condition).tree(tree, where, level=1)


class _Translation:
    """One pass over a tree; counts what it has seen."""

    def __init__(self, *, is_condition: bool) -> None:
        self._is_condition = is_condition
        self._node_count = 0

    def tree(self, node: common_pb2.Filter, where: str, *, level: int) -> list[object]:
        self._node_count += 1
        if level > LEVELS_COUNT_MAX or self._node_count > NODES_COUNT_MAX:
            raise _invalid(
                where, f"a filter has at most {NODES_COUNT_MAX} nodes and {LEVELS_COUNT_MAX} levels"
            )
        match node.WhichOneof("kind"):
            case "all":
                return ["And", self._list(node.all, f"{where}.all", level)]
            case "any":
                return ["Or", self._list(node.any, f"{where}.any", level)]
            case "negated":
                return ["Not", self.tree(node.negated, f"{where}.negated", level=level + 1)]
            case "comparison":
                return self._comparison(node.comparison, f"{where}.comparison")
            case _:
                raise _invalid(where, "a filter has exactly one of its fields set")

    def _list(self, found: common_pb2.FilterList, where: str, level: int) -> list[object]:
        if not found.filters:
            raise _invalid(where, "a list of filters has at least one")
        return [
            self.tree(node, f"{where}[{at}]", level=level + 1)
            for at, node in enumerate(found.filters)
        ]

    def _comparison(self, found: common_pb2.Comparison, where: str) -> list[object]:
        operator = OPERATORS.get(found.operator)
        if not found.attribute or operator is None:
            raise _invalid(where, "a comparison names an attribute and an operator")
        return [found.attribute, operator, self._operand(found, where), *_options(found, where)]

    def _operand(self, found: common_pb2.Comparison, where: str) -> object:
        match found.WhichOneof("operand"):
            case "value" if is_vector(found.value):
                raise _invalid(where, "vectors are not compared; rank by them")
            case "value":
                return value_json(found.value, f"{where}.value")
            case "new_attribute" if self._is_condition:
                return {"$ref_new": found.new_attribute}
            case "new_attribute":
                raise _invalid(where, "new_attribute has a meaning in conditions of a write only")
            case _:
                raise _invalid(where, "a comparison has an operand; null is one")


def _options(found: common_pb2.Comparison, where: str) -> list[dict[str, object]]:
    if found.HasField("fuzzy") != (found.operator == _FUZZY):
        raise _invalid(where, "fuzzy goes with the operator FUZZY, which needs it")
    if found.HasField("tokens") and found.operator not in _ON_TOKENS:
        raise _invalid(where, "tokens goes with CONTAINS_ALL_TOKENS and CONTAINS_ANY_TOKEN")
    if found.HasField("tokens"):
        return [{"last_as_prefix": found.tokens.is_last_token_prefix}]
    if not found.HasField("fuzzy"):
        return []
    rules = [
        {"min_query_chars": rule.query_length_min, "distance": rule.edit_distance_max}
        for rule in found.fuzzy.rules
    ]
    if not rules:
        raise _invalid(where, "fuzzy has at least one rule")
    return [{"max_edit_distance": rules, "case_sensitive": found.fuzzy.is_case_sensitive}]


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("FILTER_INVALID", f"{where}: {rule}.", where=where)
