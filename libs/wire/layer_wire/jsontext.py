"""Reading JSON the one way layer reads it, with errors that name what is wrong."""

from __future__ import annotations

import re
import secrets
from typing import Final, TypeVar

import msgspec

from layer_kit.errors import InvalidRequestError, MalformedRequestError

Raw = msgspec.Raw
RawObject = dict[str, msgspec.Raw]
"""A JSON object whose values are the bytes they arrived as."""

Piece = bytes | memoryview
"""A part of a body on its way."""

T = TypeVar("T")

NULL: Final = b"null"
NULL_VALUE: Final = b":null"
"""How an attribute that is null ends once its row has been encoded."""
ABSENT: Final = Raw(NULL)
"""Default of a field that may be left out: the contract reads null and absent alike."""

_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)
_RAW_LIST: Final[msgspec.json.Decoder[list[msgspec.Raw]]] = msgspec.json.Decoder(list[msgspec.Raw])

_LIST_OF_NUMBERS: Final = re.compile(rb"\[[ \t\r\n]*-?[0-9]")
_BRACKET: Final = ord("[")
_DIGITS: Final = frozenset(b"0123456789")
LONG_LIST_BYTES_MIN: Final = 512
LIST_END_BYTES_MAX: Final = 64
"""Among the last bytes of a list is a number; one that ends in more white space is read whole."""

STAND_IN: Final = b"-%d" % secrets.randbits(128)
"""Not to be guessed, so that no body holds it."""

encode: Final = msgspec.json.Encoder().encode
encode_lines: Final = msgspec.json.Encoder().encode_lines


def decode(
    decoder: msgspec.json.Decoder[T], body: bytes | Raw, *, what: str = "The request body"
) -> T:
    """Decode ``body`` with ``decoder``.

    Args:
        what: What is decoded, as the beginning of a sentence; the name of a field, say.

    Raises:
        MalformedRequestError: ``JSON_MALFORMED`` when it is not JSON.
        InvalidRequestError: ``JSON_SHAPE`` when a value has the wrong type; the message names
            the place.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequestError("JSON_SHAPE", f"{what} is not valid: {error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequestError("JSON_MALFORMED", f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise MalformedRequestError("JSON_TOO_DEEP", "The JSON is nested too deeply.") from error


def decode_object(body: bytes | Raw, *, what: str = "The request body") -> RawObject:
    """Decode a JSON object, leaving its values alone; errors as for :func:`decode`."""
    return decode(_OBJECT, body, what=what)


def decode_object_around_numbers(body: bytes) -> RawObject:
    """Decode a JSON object without reading its first long list of numbers.

    Most of a query is its vector. A number stands in for the list while the rest is read, and is
    then put back wherever it has come up. The list itself is looked at only at its ends, as in a
    write: what stands between is upstream's to judge. Errors as for :func:`decode`.
    """
    rest, numbers = without_numbers(body, long_list_of_numbers(body))
    if numbers is None:
        return decode_object(body)
    try:
        fields = _OBJECT.decode(rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode_object(body)  # which can tell where the fault is
    name = field_of_stand_in(fields)
    if name is None:
        return decode_object(body)  # it was a part of a name
    fields[name] = with_numbers(fields[name], numbers)
    return fields


def without_numbers(body: bytes, found: tuple[int, int] | None) -> tuple[bytes, memoryview | None]:
    """Return ``body`` with a stand-in for the list of numbers that was found, and that list."""
    if found is None:
        return body, None
    start, end = found
    return b"".join((body[:start], STAND_IN, body[end:])), memoryview(body)[start:end]


def field_of_stand_in(fields: RawObject) -> str | None:
    """Return the name of the field whose value holds the stand-in; None where none does."""
    for name, value in fields.items():
        if bytes(value).find(STAND_IN) >= 0:
            return name
    return None


def with_numbers(value: Raw, numbers: memoryview) -> Raw:
    """Put a list back in the place of its stand-in."""
    text = bytes(value)
    return Raw(numbers if text == STAND_IN else text.replace(STAND_IN, numbers))


def long_list_of_numbers(body: bytes) -> tuple[int, int] | None:
    """Return where the first long list of numbers begins and ends."""
    opening = _LIST_OF_NUMBERS.search(body) if len(body) > LONG_LIST_BYTES_MIN else None
    while opening is not None:
        start, end = opening.start(), body.find(b"]", opening.end()) + 1
        if not end:
            return None  # nor does any later list; to look for each of their ends would take long
        if end - start >= LONG_LIST_BYTES_MIN:
            return (start, end) if is_long_list_of_numbers(body, start, end) else None
        opening = _LIST_OF_NUMBERS.search(body, opening.end())
    return None


def is_long_list_of_numbers(body: bytes, start: int, end: int) -> bool:
    """Tell whether such a list begins and ends there.

    It begins with a number and ends with one, and nothing in between can hold another bracket:
    without a string in it an object could only be empty.
    """
    find = body.find
    return (
        end - start >= LONG_LIST_BYTES_MIN
        and find(b"]", start, end) == end - 1
        and find(b'"', start, end) < 0
        and find(b"[", start + 1, end) < 0
        and body[start] == _BRACKET
        and (body[start + 1] in _DIGITS or _LIST_OF_NUMBERS.match(body, start) is not None)
        and (body[end - 2] in _DIGITS or _ends_in_digit(body[end - LIST_END_BYTES_MAX : end - 1]))
    )


def _ends_in_digit(text: bytes) -> bool:
    return text.rstrip(b" \t\r\n")[-1:].isdigit()


def decode_list(body: bytes | Raw) -> list[Raw]:
    """Decode a JSON array, leaving its elements alone."""
    return decode(_RAW_LIST, body)


def raw(value: object) -> Raw:
    """Encode ``value`` once, for a place that holds raw JSON."""
    return msgspec.Raw(encode(value))


def is_null(value: Raw) -> bool:
    """Tell whether a raw value is the literal ``null``."""
    return value == ABSENT  # compared in place; a vector would be copied to be compared as bytes
