"""Counts that a snapshot's histogram can answer, since the store would say the same.

That is so for a single comparison of a scalar attribute with values. A list counts once for each
of its elements, so that of lists only a single element can be told; the store compares them
as wholes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from layer_wire.filters import Filter
from layer_wire.jsontext import encode

_ARRAY: Final = "[]"
_ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()
_NUMBERS: Final = frozenset({"int", "uint", "float"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetQuestion:
    """How many rows have one of some values."""

    field: str
    values: tuple[Any, ...]
    is_membership: bool
    """Whether it was asked as ``In``."""


def facet_question(filter_: Filter | None) -> FacetQuestion | None:
    """Read a filter that is one comparison by ``Eq`` or ``In``, in any case; None otherwise."""
    if filter_ is None:
        return None
    try:
        found = _ANY.decode(filter_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    match found:
        case [str(field), str(operator), operand] if operator.lower() == "eq":
            return FacetQuestion(field=field, values=(operand,), is_membership=False)
        case [str(field), str(operator), [*operands]] if operator.lower() == "in":
            return FacetQuestion(field=field, values=tuple(operands), is_membership=True)
        case _:
            return None


def facet_count(question: FacetQuestion, type_: str, counts: Mapping[str, int]) -> int | None:
    """Count rows by a histogram; None where the store might count others.

    Args:
        type_: The attribute's.
        counts: Rows by value.
    """
    spellings = {_spellings(value, type_.removeprefix(_ARRAY)) for value in question.values}
    if not spellings or None in spellings:
        return None
    if type_.startswith(_ARRAY) and not (question.is_membership and len(spellings) == 1):
        return None
    return sum(counts.get(text, 0) for texts in spellings if texts for text in texts)


def _spellings(value: object, type_: str) -> frozenset[str] | None:
    """Return the texts that a value may be counted under; None where it is none of its type."""
    match value:
        case bool():
            return frozenset({encode(value).decode()}) if type_ == "bool" else None
        case str():
            return frozenset({value}) if type_ == "string" else None
        case int() | float() if type_ in _NUMBERS:
            if value != int(value):
                return frozenset({encode(value).decode()}) if type_ == "float" else None
            return frozenset({encode(int(value)).decode(), encode(float(value)).decode()})
        case _:
            return None
