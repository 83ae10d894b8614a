"""Filters about attributes that a namespace does not have, which the store refuses.

To a reader such an attribute is null on every row, as it will be on the rows of today once the
schema has it. So what a filter says of it is true or false of all rows, by the store's null rules:
null sorts lowest, and the negative operators are plain inverses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from layer.common.v1 import common_pb2

ID: Final = "id"
COMPUTED: Final = "$"
"""What the names begin with that no schema has."""


def _is_null(operand: common_pb2.Value) -> bool:
    return operand.WhichOneof("kind") == "null_value"


_EQUAL: Final = common_pb2.COMPARISON_OPERATOR_EQUAL
_IN: Final = common_pb2.COMPARISON_OPERATOR_IN
_INVERSE_OF: Final = {
    common_pb2.COMPARISON_OPERATOR_NOT_EQUAL: _EQUAL,
    common_pb2.COMPARISON_OPERATOR_NOT_IN: _IN,
    common_pb2.COMPARISON_OPERATOR_NOT_CONTAINS: common_pb2.COMPARISON_OPERATOR_CONTAINS,
    common_pb2.COMPARISON_OPERATOR_NOT_CONTAINS_ANY: common_pb2.COMPARISON_OPERATOR_CONTAINS_ANY,
    common_pb2.COMPARISON_OPERATOR_NOT_GLOB: common_pb2.COMPARISON_OPERATOR_GLOB,
    common_pb2.COMPARISON_OPERATOR_NOT_CASELESS_GLOB: (
        common_pb2.COMPARISON_OPERATOR_CASELESS_GLOB
    ),
}
_OF_NULL: Final[dict[int, Callable[[common_pb2.Value], bool]]] = {
    _EQUAL: _is_null,
    _IN: lambda operand: any(map(_is_null, operand.list_value.values)),
    common_pb2.COMPARISON_OPERATOR_LESS: lambda operand: not _is_null(operand),
    common_pb2.COMPARISON_OPERATOR_LESS_OR_EQUAL: lambda _: True,
    common_pb2.COMPARISON_OPERATOR_GREATER_OR_EQUAL: _is_null,
}
"""What null fulfils; every other positive operator needs a value."""


def fold_filter(tree: common_pb2.Filter, attributes: Collection[str]) -> common_pb2.Filter | bool:
    """Return a filter about the attributes that there are; a bool when all rows fulfil it or none.

    Args:
        tree: One that :func:`~layer_messages.filters.filter_json` takes.
        attributes: Those that the schema of the namespace has.
    """
    match tree.WhichOneof("kind"):
        case "all":
            parts = _undecided(tree.all, attributes, decisive=False)
            if isinstance(parts, bool):
                return parts
            return common_pb2.Filter(all=common_pb2.FilterList(filters=parts))
        case "any":
            parts = _undecided(tree.any, attributes, decisive=True)
            if isinstance(parts, bool):
                return parts
            return common_pb2.Filter(any=common_pb2.FilterList(filters=parts))
        case "negated":
            part = fold_filter(tree.negated, attributes)
            return not part if isinstance(part, bool) else common_pb2.Filter(negated=part)
        case _:
            is_left = _is_known(tree.comparison.attribute, attributes)
            return tree if is_left else _is_true_of_null(tree.comparison)


def is_foldable(tree: common_pb2.Filter, attributes: Collection[str]) -> bool:
    """Tell whether a filter is about an attribute that there is not."""
    match tree.WhichOneof("kind"):
        case "all":
            return any(is_foldable(part, attributes) for part in tree.all.filters)
        case "any":
            return any(is_foldable(part, attributes) for part in tree.any.filters)
        case "negated":
            return is_foldable(tree.negated, attributes)
        case _:
            return not _is_known(tree.comparison.attribute, attributes)


def _undecided(
    parts: common_pb2.FilterList, attributes: Collection[str], *, decisive: bool
) -> list[common_pb2.Filter] | bool:
    """Return the parts that rows differ in; a bool when one part decides, or none is left."""
    found = [fold_filter(part, attributes) for part in parts.filters]
    if any(part is decisive for part in found):
        return decisive
    return [part for part in found if not isinstance(part, bool)] or not decisive


def _is_known(name: str, attributes: Collection[str]) -> bool:
    return name in attributes or name == ID or name.startswith(COMPUTED)


def _is_true_of_null(found: common_pb2.Comparison) -> bool:
    positive = _INVERSE_OF.get(found.operator)
    holds = _OF_NULL.get(found.operator if positive is None else positive)
    is_true = holds is not None and holds(found.value)
    return is_true if positive is None else not is_true
