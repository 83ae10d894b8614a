"""The operators of filters: what operand each takes and which rows it matches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np

from layer_vectorstore.domain.attribute_types import AttributeType, Kind
from layer_vectorstore.domain.columns import (
    ArrayColumn,
    Mask,
    Rows,
    ScalarColumn,
    TextColumn,
    row_count,
)
from layer_vectorstore.domain.errors import RefusedError, quoted
from layer_vectorstore.domain.filters import Condition
from layer_vectorstore.domain.limits import TEXT_QUERY_LENGTH_MAX
from layer_vectorstore.domain.patterns import (
    DISTANCE_MAX,
    Fuzziness,
    Test,
    fuzzy_test,
    glob_test,
    regex_test,
    with_deadline,
)
from layer_vectorstore.domain.schema import AttributeSchema, Schema
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.token_operators import TOKEN_OPERATORS, bind_token_condition
from layer_vectorstore.domain.values import Scalar, ValueMismatchError, convert

Predicate = Callable[[TableView, Rows], Mask]

NEGATIONS: Final = {
    "NotEq": "Eq",
    "NotIn": "In",
    "NotContains": "Contains",
    "NotContainsAny": "ContainsAny",
    "NotGlob": "Glob",
    "NotIGlob": "IGlob",
}
PATTERN_OPTIONS: Final = {"Glob": "glob", "IGlob": "glob", "Regex": "regex", "Fuzzy": "fuzzy"}


def bind_condition(condition: Condition, schema: Schema) -> Predicate:
    """Check one condition and return what evaluates it.

    Raises:
        RefusedError: ``FILTER_INVALID``.
    """
    if condition.operator in NEGATIONS:
        positive = Condition(
            condition.attribute,
            NEGATIONS[condition.operator],
            condition.operand,
            condition.options,
        )
        matching = bind_condition(positive, schema)
        return lambda view, rows: ~matching(view, rows)
    attribute = schema.attributes.get(condition.attribute)
    if attribute is None:
        raise filter_error(condition, "attribute not found")
    if condition.operator in TOKEN_OPERATORS:
        return bind_token_condition(condition, attribute)
    _check_indexed(condition, attribute)
    if condition.operator in PATTERN_OPTIONS:
        return _bind_pattern(condition, attribute)
    return _BINDERS[condition.operator](condition, attribute.type)


def filter_error(condition: Condition, problem: str) -> RefusedError:
    return RefusedError(
        "FILTER_INVALID",
        f"filter error in key `{condition.attribute}`: {problem}",
        attribute=condition.attribute,
    )


def _mismatch(condition: Condition, expected: str) -> RefusedError:
    return filter_error(
        condition,
        f"type mismatch, {condition.operator} expects {expected}, "
        f"but got {quoted(condition.operand)}",
    )


def _check_indexed(condition: Condition, attribute: AttributeSchema) -> None:
    option = PATTERN_OPTIONS.get(condition.operator)
    if option and getattr(attribute, option):
        return
    if option in ("regex", "fuzzy"):
        raise filter_error(
            condition, f"{condition.operator} needs `{option}: true` in the attribute's schema"
        )
    if not attribute.is_filterable:
        raise filter_error(condition, "attribute is not filterable")


def _bind_equal(condition: Condition, found: AttributeType) -> Predicate:
    if condition.operand is None:
        return _missing(condition.attribute)
    value = _operand(condition, found)
    return _on_column(condition, lambda column, rows: column.equal(value, rows))


def _bind_member(condition: Condition, found: AttributeType) -> Predicate:
    operand = condition.operand
    if found.kind is Kind.ARRAY and not isinstance(operand, list):
        # The service has always taken a bare value here, so clients send one.
        operand = [operand]
    if not isinstance(operand, list):
        raise _mismatch(condition, f"{found} or []{found.element}")
    values = [item for item in operand if item is not None]
    try:
        members = [cast("Scalar", convert(item, found.item)) for item in values]
    except ValueMismatchError as error:
        raise _mismatch(condition, f"{found.element} or []{found.element}") from error
    matching = _overlap(condition, found, members)
    if len(values) == len(operand):
        return matching
    missing = _missing(condition.attribute)
    return lambda view, rows: matching(view, rows) | missing(view, rows)


def _bind_contains(condition: Condition, found: AttributeType) -> Predicate:
    if found.kind is not Kind.ARRAY:
        raise filter_error(condition, f"{condition.operator} needs an array, not {found}")
    return _overlap(condition, found, [cast("Scalar", _operand(condition, found.item))])


def _bind_contains_any(condition: Condition, found: AttributeType) -> Predicate:
    if found.kind is not Kind.ARRAY:
        raise filter_error(condition, f"{condition.operator} needs an array, not {found}")
    return _overlap(condition, found, cast("list[Scalar]", _operand(condition, found)))


def _overlap(condition: Condition, found: AttributeType, members: list[Scalar]) -> Predicate:
    if found.kind is Kind.ARRAY:
        return _on_any_item(condition, lambda items, rows: items.member(members, rows))
    return _on_column(condition, lambda column, rows: column.member(members, rows))


def _bind_order(condition: Condition, found: AttributeType) -> Predicate:
    if found.kind is Kind.ARRAY:
        raise filter_error(condition, f"{condition.operator} needs a scalar, not {found}")
    comparison = condition.operator
    missing = _missing(condition.attribute)
    if condition.operand is None:
        return _order_against_missing(comparison, missing)
    value = cast("Scalar", _operand(condition, found))
    matching = _on_column(condition, lambda column, rows: column.compare(comparison, value, rows))
    if comparison in ("Lt", "Lte"):
        return lambda view, rows: matching(view, rows) | missing(view, rows)
    return matching


def _order_against_missing(comparison: str, missing: Predicate) -> Predicate:
    match comparison:
        case "Lt":
            return lambda _view, rows: np.zeros(row_count(rows), dtype=np.bool_)
        case "Lte":
            return missing
        case "Gt":
            return lambda view, rows: ~missing(view, rows)
        case _:
            return lambda _view, rows: np.ones(row_count(rows), dtype=np.bool_)


def _bind_any_order(condition: Condition, found: AttributeType) -> Predicate:
    if found.kind is not Kind.ARRAY:
        raise filter_error(condition, f"{condition.operator} needs an array, not {found}")
    comparison = condition.operator.removeprefix("Any")
    value = cast("Scalar", _operand(condition, found.item))
    return _on_any_item(condition, lambda items, rows: items.compare(comparison, value, rows))


def _bind_pattern(condition: Condition, attribute: AttributeSchema) -> Predicate:
    if not attribute.type.is_text:
        raise filter_error(condition, f"{condition.operator} needs a string, not {attribute.type}")
    if not isinstance(condition.operand, str):
        raise _mismatch(condition, "string")
    test = with_deadline(_pattern_test(condition))
    if attribute.type.kind is Kind.ARRAY:
        return _on_any_item(
            condition, lambda items, rows: cast("TextColumn", items).matching(test, rows)
        )
    return _on_column(condition, lambda column, rows: column.matching(test, rows))


def _pattern_test(condition: Condition) -> Test:
    match condition.operator:
        case "Regex":
            return regex_test(condition.operand)
        case "Fuzzy":
            if len(condition.operand) > TEXT_QUERY_LENGTH_MAX:
                raise filter_error(
                    condition, f"a query can be at most {TEXT_QUERY_LENGTH_MAX} characters long"
                )
            return fuzzy_test(condition.operand, _fuzziness(condition))
        case _:
            return glob_test(condition.operand, case_sensitive=condition.operator == "Glob")


def _fuzziness(condition: Condition) -> Fuzziness:
    options = condition.options or {}
    thresholds = []
    for entry in options.get("max_edit_distance") or [None]:
        match entry:
            case {"min_query_chars": int(chars_min), "distance": int(distance)} if (
                0 <= distance <= DISTANCE_MAX and chars_min >= 3 * (distance + 1)
            ):
                thresholds.append((chars_min, distance))
            case _:
                raise filter_error(
                    condition,
                    "max_edit_distance must list {min_query_chars, distance} with a distance of 0 "
                    f"to {DISTANCE_MAX} and min_query_chars of at least 3 * (distance + 1)",
                )
    case_sensitive = options.get("case_sensitive", True)
    if not isinstance(case_sensitive, bool):
        raise filter_error(condition, "case_sensitive must be true or false")
    return Fuzziness(tuple(sorted(thresholds)), case_sensitive)


def _operand(condition: Condition, expected: AttributeType) -> Any:
    try:
        value = convert(condition.operand, expected)
    except ValueMismatchError as error:
        raise _mismatch(condition, str(expected)) from error
    if value is None:
        raise _mismatch(condition, str(expected))
    return value


def _missing(attribute: str) -> Predicate:
    return lambda view, rows: ~cast("ScalarColumn", view.columns[attribute]).present(rows)


def _on_column(condition: Condition, matching: Callable[[Any, Rows], Mask]) -> Predicate:
    return lambda view, rows: matching(view.columns[condition.attribute], rows)


def _on_any_item(condition: Condition, matching: Callable[[ScalarColumn, Rows], Mask]) -> Predicate:
    return lambda view, rows: cast("ArrayColumn", view.columns[condition.attribute]).any_item(
        matching, rows
    )


_BINDERS: Final[dict[str, Callable[[Condition, AttributeType], Predicate]]] = {
    "Eq": _bind_equal,
    "In": _bind_member,
    "Contains": _bind_contains,
    "ContainsAny": _bind_contains_any,
    "Lt": _bind_order,
    "Lte": _bind_order,
    "Gt": _bind_order,
    "Gte": _bind_order,
    "AnyLt": _bind_any_order,
    "AnyLte": _bind_any_order,
    "AnyGt": _bind_any_order,
    "AnyGte": _bind_any_order,
}
