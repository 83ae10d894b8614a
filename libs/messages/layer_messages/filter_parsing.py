"""Filters as the store spells them, nested arrays in JSON, read into a typed tree."""

from __future__ import annotations

from typing import Final

from layer.common.v1 import common_pb2
from layer_kit.errors import InvalidRequestError
from layer_messages.filters import LEVELS_COUNT_MAX, NODES_COUNT_MAX, OPERATORS
from layer_messages.values import fill_value
from layer_wire.jsontext import raw

_OPERATORS: Final = {name: operator for operator, name in OPERATORS.items()}
_TOKEN_OPERATORS: Final = ("ContainsAllTokens", "ContainsAnyToken")


def parse_filter(found: object, where: str) -> common_pb2.Filter:
    """Return the tree of a filter that JSON was decoded to.

    Raises:
        InvalidRequestError: ``FILTER_INVALID``; the message names the place.
    """
    return _Reading().tree(found, where, level=1)


class _Reading:
    """One pass over a filter; counts what it has seen."""

    def __init__(self) -> None:
        self._node_count = 0

    def tree(self, found: object, where: str, *, level: int) -> common_pb2.Filter:
        self._node_count += 1
        if level > LEVELS_COUNT_MAX or self._node_count > NODES_COUNT_MAX:
            raise _invalid(
                where, f"a filter has at most {NODES_COUNT_MAX} nodes and {LEVELS_COUNT_MAX} levels"
            )
        match found:
            case ["And", list(parts)]:
                return common_pb2.Filter(all=self._list(parts, where, level))
            case ["Or", list(parts)]:
                return common_pb2.Filter(any=self._list(parts, where, level))
            case ["Not", part]:
                negated = self.tree(part, f"{where}[1]", level=level + 1)
                return common_pb2.Filter(negated=negated)
            case [str(attribute), str(operator), operand, *options] if attribute:
                compared = _comparison(attribute, operator, operand, options, where)
                return common_pb2.Filter(comparison=compared)
            case _:
                raise _invalid(
                    where,
                    'a filter is ["And", […]], ["Or", […]], ["Not", …] or [name, "Eq", value]',
                )

    def _list(self, parts: list[object], where: str, level: int) -> common_pb2.FilterList:
        if not parts:
            raise _invalid(where, "a list of filters has at least one")
        return common_pb2.FilterList(
            filters=[
                self.tree(part, f"{where}[1][{at}]", level=level + 1)
                for at, part in enumerate(parts)
            ]
        )


def _comparison(
    attribute: str, operator: str, operand: object, options: list[object], where: str
) -> common_pb2.Comparison:
    if operator not in _OPERATORS:
        raise _invalid(where, f"{operator[:64]!r} is no operator")
    compared = common_pb2.Comparison(attribute=attribute, operator=_OPERATORS[operator])
    fill_value(compared.value, raw(operand), "")
    if compared.value.WhichOneof("kind") == "json_value":
        raise _invalid(where, "the operand is a scalar or a list of scalars")
    match options:
        case [] if operator != "Fuzzy":
            pass
        case [{"last_as_prefix": bool(is_prefix)}] if operator in _TOKEN_OPERATORS:
            compared.tokens.is_last_token_prefix = is_prefix
        case [{"max_edit_distance": [_, *_] as rules, **rest}] if operator == "Fuzzy":
            _fill_fuzzy(compared.fuzzy, rules, rest, where)
        case _:
            raise _invalid(where, f"the options are none that {operator} has")
    return compared


def _fill_fuzzy(
    fuzzy: common_pb2.FuzzyOptions, rules: list[object], rest: dict[object, object], where: str
) -> None:
    for rule in rules:
        match rule:
            case {"min_query_chars": int(length), "distance": int(distance)}:
                fuzzy.rules.add(query_length_min=length, edit_distance_max=distance)
            case _:
                raise _invalid(where, "a rule of Fuzzy has min_query_chars and distance")
    is_case_sensitive = rest.pop("case_sensitive", False)
    if rest or not isinstance(is_case_sensitive, bool):
        raise _invalid(where, "Fuzzy has max_edit_distance and case_sensitive")
    fuzzy.is_case_sensitive = is_case_sensitive


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("FILTER_INVALID", f"{where}: {rule}.", where=where, field=where)
