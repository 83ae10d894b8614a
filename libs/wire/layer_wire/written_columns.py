"""Columns of a write that carries its rows as columns."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from layer_kit.errors import InvalidRequestError
from layer_wire.jsontext import Raw, decode_list, raw

FLOAT32_BYTES: Final = 4


def decode_column(value: Raw, where: str, length: int) -> list[Raw]:
    """Return the values of a column, one for each of ``length`` rows.

    Raises:
        InvalidRequestError: ``JSON_SHAPE``, ``COLUMNS_DIFFER`` or ``VECTOR_INVALID``.
    """
    text = bytes(value)
    if text.startswith(b'"'):
        return _unpacked(text, where, length)
    if not text.startswith(b"["):
        raise InvalidRequestError("JSON_SHAPE", f"{where} is not a list.", field=where)
    found = decode_list(value)
    if len(found) != length:
        raise InvalidRequestError(
            "COLUMNS_DIFFER",
            f"{where} has {len(found)} values, the id column {length}.",
            field=where,
        )
    return found


def _unpacked(text: bytes, where: str, length: int) -> list[Raw]:
    """Cut a column of vectors that came as one base64 string into one string per row."""
    try:
        packed = base64.b64decode(text[1:-1], validate=True)
    except binascii.Error as error:
        raise InvalidRequestError(
            "VECTOR_INVALID", f"{where} is neither a list nor base64.", field=where
        ) from error
    width = len(packed) // length
    if not width or width % FLOAT32_BYTES or len(packed) % length:
        raise InvalidRequestError(
            "COLUMNS_DIFFER",
            f"{where} has {len(packed)} bytes, which are no {length} vectors of 32-bit floats.",
            field=where,
        )
    starts = range(0, len(packed), width)
    return [raw(base64.b64encode(packed[at : at + width]).decode()) for at in starts]
