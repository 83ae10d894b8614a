"""Attribute types as the contract spells them: ``string``, ``[]int``, ``[3]f32``, ``{}f16`` …"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from layer_vectorstore.domain.limits import DIMENSIONS_MAX


class Kind(StrEnum):
    SCALAR = "scalar"
    ARRAY = "array"
    DENSE = "dense"
    LATE_INTERACTION = "late_interaction"
    SPARSE = "sparse"


class Element(StrEnum):
    """What one scalar, array item or vector component is."""

    STRING = "string"
    INT = "int"
    UINT = "uint"
    FLOAT = "float"
    UUID = "uuid"
    DATETIME = "datetime"
    BOOL = "bool"
    F32 = "f32"
    F16 = "f16"
    I8 = "i8"


@dataclass(frozen=True, slots=True)
class AttributeType:
    kind: Kind
    element: Element
    dimensions: int = 0
    """Of a vector; 0 for everything else."""

    def __str__(self) -> str:
        match self.kind:
            case Kind.SCALAR:
                return self.element
            case Kind.ARRAY:
                return f"[]{self.element}"
            case Kind.DENSE:
                return f"[{self.dimensions}]{self.element}"
            case Kind.LATE_INTERACTION:
                return f"[][{self.dimensions}]{self.element}"
            case Kind.SPARSE:
                return f"{{}}{self.element}"

    @property
    def is_text(self) -> bool:
        return self in (STRING, STRINGS)

    @property
    def item(self) -> AttributeType:
        """The type of an array's items, or the type itself."""
        return scalar(self.element) if self.kind is Kind.ARRAY else self


def scalar(element: Element) -> AttributeType:
    return AttributeType(Kind.SCALAR, element)


def array_of(element: Element) -> AttributeType:
    return AttributeType(Kind.ARRAY, element)


STRING: Final = scalar(Element.STRING)
STRINGS: Final = array_of(Element.STRING)
INT: Final = scalar(Element.INT)
UINT: Final = scalar(Element.UINT)
UUID: Final = scalar(Element.UUID)
SPARSE: Final = AttributeType(Kind.SPARSE, Element.F16)
ID_TYPES: Final = (UINT, STRING, UUID)

_SCALARS: Final = {
    str(element): scalar(element)
    for element in Element
    if element not in (Element.F32, Element.F16, Element.I8)
}
_VECTOR: Final = re.compile(r"(\[\])?\[([1-9][0-9]{0,5})\](f32|f16|i8)")


def find_type(text: str) -> AttributeType | None:
    """Return the type that ``text`` spells, or None."""
    if found := _SCALARS.get(text):
        return found
    if text.startswith("[]") and (item := _SCALARS.get(text[2:])):
        return array_of(item.element)
    if text == "{}f16":
        return SPARSE
    if (match := _VECTOR.fullmatch(text)) and int(match[2]) <= DIMENSIONS_MAX:
        kind = Kind.LATE_INTERACTION if match[1] else Kind.DENSE
        return AttributeType(kind, Element(match[3]), int(match[2]))
    return None


def is_vector_type(text: str) -> bool:
    """Tell whether ``text`` spells a type of vectors, however many dimensions it names."""
    return _VECTOR.fullmatch(text) is not None
