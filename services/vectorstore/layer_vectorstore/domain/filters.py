"""Filters as the contract writes them: ``["And", […]]``, ``[attribute, operator, operand]`` …"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from layer_vectorstore.domain.errors import RefusedError, malformed
from layer_vectorstore.domain.limits import EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_COUNT_MAX

OPERATORS: Final = frozenset(
    [
        "Eq",
        "NotEq",
        "In",
        "NotIn",
        "Contains",
        "NotContains",
        "ContainsAny",
        "NotContainsAny",
        "Lt",
        "Lte",
        "Gt",
        "Gte",
        "AnyLt",
        "AnyLte",
        "AnyGt",
        "AnyGte",
        "Glob",
        "NotGlob",
        "IGlob",
        "NotIGlob",
        "Regex",
        "Fuzzy",
        "ContainsAllTokens",
        "ContainsAnyToken",
        "ContainsTokenSequence",
    ]
)
OPERATORS_WITH_OPTIONS: Final = frozenset(
    ("Fuzzy", "ContainsAllTokens", "ContainsAnyToken", "ContainsTokenSequence")
)
UNMATCHED: Final = "data did not match any variant of untagged enum Filter"


@dataclass(frozen=True, slots=True)
class And:
    children: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    children: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    child: Filter


@dataclass(frozen=True, slots=True)
class NewValue:
    """``{"$ref_new": attribute}``: what the written row holds, in the condition of a write."""

    attribute: str


@dataclass(frozen=True, slots=True)
class Condition:
    attribute: str
    operator: str
    operand: Any
    """JSON, or :class:`NewValue`."""
    options: dict[str, Any] | None = None


Filter = And | Or | Not | Condition


def parse_filter(value: object, path: str, *, may_refer_to_new: bool = False) -> Filter:
    """Read a filter.

    Args:
        value: From the body.
        path: Where it stood, for the error.
        may_refer_to_new: Whether operands may be ``$ref_new``.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: ``EXPRESSION_TOO_LARGE``.
    """
    return _Parser(path, may_refer_to_new=may_refer_to_new).parse(value, 0)


def is_filter(value: object) -> bool:
    """Return whether a JSON value can only be meant as a filter."""
    match value:
        case ["And" | "Or", [*_]] | ["Not", [*_]]:
            return True
        case [str(), str(operator), *_]:
            return operator in OPERATORS
        case _:
            return False


def iter_conditions(node: Filter) -> Iterator[Condition]:
    match node:
        case And(children) | Or(children):
            for child in children:
                yield from iter_conditions(child)
        case Not(child):
            yield from iter_conditions(child)
        case Condition():
            yield node


class _Parser:
    def __init__(self, path: str, *, may_refer_to_new: bool) -> None:
        self._path = path
        self._may_refer_to_new = may_refer_to_new
        self._nodes_count = 0

    def parse(self, value: object, depth: int) -> Filter:
        self._nodes_count += 1
        if depth > EXPRESSION_DEPTH_MAX or self._nodes_count > EXPRESSION_NODES_COUNT_MAX:
            raise RefusedError(
                "EXPRESSION_TOO_LARGE",
                f"💔 a filter can nest at most {EXPRESSION_DEPTH_MAX} levels and have at most "
                f"{EXPRESSION_NODES_COUNT_MAX} parts",
            )
        match value:
            case ["And", [*children]]:
                return And(tuple(self.parse(child, depth + 1) for child in children))
            case ["Or", [*children]]:
                return Or(tuple(self.parse(child, depth + 1) for child in children))
            case ["Not", child]:
                return Not(self.parse(child, depth + 1))
            case [str(attribute), str(name), operand] if name in OPERATORS:
                return Condition(attribute, name, self._operand(operand))
            case [str(attribute), str(name), operand, dict(options)] if (
                name in OPERATORS_WITH_OPTIONS
            ):
                return Condition(attribute, name, self._operand(operand), options)
            case _:
                raise malformed(self._path, UNMATCHED)

    def _operand(self, operand: object) -> object:
        match operand:
            case {"$ref_new": str(attribute), **rest} if not rest and self._may_refer_to_new:
                return NewValue(attribute)
            case dict():
                raise malformed(self._path, UNMATCHED)
            case _:
                return operand
