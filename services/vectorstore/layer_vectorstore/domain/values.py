"""Values of attributes: what JSON may hold for a type, and what is stored and shown for it.

Stored forms: ``str`` (also uuid, in its hyphenated lower-case form), ``int`` (also datetime, in
milliseconds since 1970), ``float``, ``bool`` and lists of these. None is a missing value.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from layer_vectorstore.domain.attribute_types import (
    AttributeType,
    Element,
    Kind,
    array_of,
    scalar,
)
from layer_vectorstore.domain.limits import ATTRIBUTE_VALUE_BYTES_MAX

Scalar = str | int | float | bool
Value = Scalar | list[Scalar] | None

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1
UINT_MAX: Final = (1 << 64) - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class ValueMismatchError(ValueError):
    """A JSON value does not fit a type; the caller knows how to say so."""


def convert(value: object, attribute_type: AttributeType) -> Value:
    """Turn a JSON value into the stored form of a scalar or array type.

    Raises:
        ValueMismatchError: When it does not fit.
    """
    if value is None:
        return None
    convert_item = _CONVERTERS[attribute_type.element]
    if attribute_type.kind is Kind.SCALAR:
        return convert_item(value)
    if not isinstance(value, list):
        raise ValueMismatchError
    items = [convert_item(item) for item in value]
    if sum(size_bytes(item) for item in items) > ATTRIBUTE_VALUE_BYTES_MAX:
        raise ValueMismatchError
    return items


def infer_type(value: object) -> AttributeType | None:
    """Return the type of the first non-null value of a new attribute.

    None means that the value does not tell: null, or an array without a non-null item.

    Raises:
        ValueMismatchError: When no type can hold the value.
    """
    if isinstance(value, list):
        first = next((item for item in value if item is not None), None)
        if isinstance(first, list):
            raise ValueMismatchError
        item = infer_type(first)
        if item is None:
            return None
        if item.element is Element.INT and any(isinstance(other, float) for other in value):
            return array_of(Element.FLOAT)
        return array_of(item.element)
    match value:
        case None:
            return None
        case bool():
            return scalar(Element.BOOL)
        case int():
            return scalar(Element.INT)
        case float():
            return scalar(Element.FLOAT)
        case str():
            return scalar(Element.STRING)
        case _:
            raise ValueMismatchError


def size_bytes(value: object) -> int:
    """Return the logical size that billing and limits count."""
    match value:
        case None:
            return 0
        case bool():
            return 1
        case str():
            return len(value) if value.isascii() else len(value.encode())
        case list():
            return sum(size_bytes(item) for item in value)
        case dict():
            return sum(len(key) + 2 for key in value)
        case _:
            return 8


def shown(value: Value, element: Element) -> object:
    """Return the JSON form of a stored value."""
    if element is not Element.DATETIME or value is None:
        return value
    if isinstance(value, list):
        return [shown(item, element) for item in value]
    moment = _EPOCH + int(value) * _MILLISECOND
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}000Z"


def parse_uuid(text: object) -> str:
    """Accept what UUID libraries do: braces, ``urn:uuid:``, with or without hyphens."""
    if not isinstance(text, str):
        raise ValueMismatchError
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise ValueMismatchError from error


def parse_datetime(text: object) -> int:
    """Return milliseconds since 1970; a time without a zone is UTC."""
    if not isinstance(text, str):
        raise ValueMismatchError
    try:
        moment = datetime.fromisoformat(text)
        # In UTC it must be in a year that can be shown, too.
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        # Floor division, since a moment before 1970 must not round up.
        return (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as error:
        raise ValueMismatchError from error


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueMismatchError
    # No character has more than four bytes, so short texts need not be encoded.
    if len(value) * 4 > ATTRIBUTE_VALUE_BYTES_MAX and size_bytes(value) > ATTRIBUTE_VALUE_BYTES_MAX:
        raise ValueMismatchError
    return value


def _integer(value: object, low: int, high: int) -> int:
    # A number such as 3.0 is an integer: some clients have no other way to write one.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueMismatchError
    return value


def _int(value: object) -> int:
    return _integer(value, INT_MIN, INT_MAX)


def _uint(value: object) -> int:
    return _integer(value, 0, UINT_MAX)


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueMismatchError
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueMismatchError from error
    if not math.isfinite(number):
        raise ValueMismatchError
    return number


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueMismatchError
    return value


_CONVERTERS: Final[dict[Element, Callable[[object], Scalar]]] = {
    Element.STRING: _string,
    Element.INT: _int,
    Element.UINT: _uint,
    Element.FLOAT: _float,
    Element.UUID: parse_uuid,
    Element.DATETIME: parse_datetime,
    Element.BOOL: _bool,
}
