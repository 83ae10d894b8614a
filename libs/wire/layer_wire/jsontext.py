"""Reading JSON the one way layer reads it, with errors that name what is wrong."""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec

from layer_kit.errors import InvalidRequestError, MalformedRequestError

Raw = msgspec.Raw
RawObject = dict[str, msgspec.Raw]
"""A JSON object whose values are the bytes they arrived as."""

T = TypeVar("T")

NULL: Final = b"null"
ABSENT: Final = Raw(NULL)
"""Default of a field that may be left out: the contract reads null and absent alike."""

_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)
_RAW_LIST: Final[msgspec.json.Decoder[list[msgspec.Raw]]] = msgspec.json.Decoder(list[msgspec.Raw])

encode: Final = msgspec.json.Encoder().encode


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


def decode_list(body: bytes | Raw) -> list[Raw]:
    """Decode a JSON array, leaving its elements alone."""
    return decode(_RAW_LIST, body)


def raw(value: object) -> Raw:
    """Encode ``value`` once, for a place that holds raw JSON."""
    return msgspec.Raw(encode(value))


def is_null(value: Raw) -> bool:
    """Tell whether a raw value is the literal ``null``."""
    return value == ABSENT  # compared in place; a vector would be copied to be compared as bytes
