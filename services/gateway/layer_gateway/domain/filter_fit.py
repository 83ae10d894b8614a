"""Whether a filter can mean anything in a namespace, told from its schema.

Namespaces that are queried together need not have the same attributes. One that lacks what the
filter is about is left out by name, where the store would only say that something is wrong.
Whatever is not surely wrong is the store's to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

DEPTH_MAX: Final = 64
COMPUTED: Final = frozenset({"id", "$dist", "$score"})
"""Names that no schema has, or that every one has."""

ON_TEXT: Final = frozenset(
    {
        "Glob",
        "NotGlob",
        "IGlob",
        "NotIGlob",
        "Regex",
        "Fuzzy",
        "ContainsAllTokens",
        "ContainsAnyToken",
        "ContainsTokenSequence",
    }
)
"""These use an index of their own, and so attributes that are not filterable as well."""

ON_LISTS: Final = frozenset({"In", "NotIn", "ContainsAny", "NotContainsAny"})
_ARRAY: Final = "[]"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return _is_number(value) and isinstance(value, int | float) and value == int(value)


def _is_anything(_: object) -> bool:
    return True


_FITS: Final[Mapping[str, Callable[[object], bool]]] = {
    "string": _is_text,
    "uuid": _is_text,
    "datetime": lambda value: _is_text(value) or _is_number(value),
    "bool": lambda value: isinstance(value, bool),
    "int": _is_whole,
    "uint": _is_whole,
    "float": _is_number,
}
"""What literals a type takes; types that are not here take any."""


def misfit(filter_: object, types: Mapping[str, str], unfilterable: Collection[str]) -> str | None:
    """Say what in a filter has no meaning in a namespace; None where nothing surely is.

    Args:
        filter_: Decoded.
        types: Of the attributes of the namespace.
        unfilterable: Those of them that are not indexed for filters.
    """
    return _misfit(filter_, types, unfilterable, 0)


def _misfit(
    node: object, types: Mapping[str, str], unfilterable: Collection[str], depth: int
) -> str | None:
    if depth > DEPTH_MAX:
        return None
    match node:
        case ["And" | "Or", [*children]]:
            found = (_misfit(child, types, unfilterable, depth + 1) for child in children)
            return next((problem for problem in found if problem is not None), None)
        case ["Not", child]:
            return _misfit(child, types, unfilterable, depth + 1)
        case [str(name), str(), _, *_] if name in COMPUTED:
            return None
        case [str(name), str(operator), operand, *_]:
            if name not in types:
                return f"attribute {name!r} is not in the schema"
            if name in unfilterable and operator not in ON_TEXT:
                return f"attribute {name!r} is not filterable"
            return _operand_misfit(name, operator, operand, types[name])
        case _:
            return None


def _operand_misfit(name: str, operator: str, operand: object, type_: str) -> str | None:
    element, is_array = type_.removeprefix(_ARRAY), type_.startswith(_ARRAY)
    if operator in ON_TEXT:
        is_fitting = element == "string"
    else:
        fits = _FITS.get(element, _is_anything)
        is_listed = isinstance(operand, list)
        items = operand if isinstance(operand, list) else [operand]
        is_fitting = all(item is None or fits(item) for item in items) and (
            not is_listed or is_array or operator in ON_LISTS or element not in _FITS
        )
    return None if is_fitting else f"attribute {name!r} of type {type_} does not take such a value"
