"""Vectors as JSON: a look at their ends, and in few places at their numbers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_wire.jsontext import Piece, Raw, RawObject, is_null
from layer_wire.reserved import VECTOR_KEYS

FLOAT_BYTES: Final = 4
EDGE_BYTES: Final = 32
"""How much of a vector's either end is looked at before all of it is."""


_KEY_TEXTS: Final = {key: b',"%b":' % key.encode() for key in VECTOR_KEYS}


class _Vectors(msgspec.Struct):
    vector: list[float] | str | None = None


_DECODER: Final[msgspec.json.Decoder[_Vectors]] = msgspec.json.Decoder(_Vectors)


def stored_vector(vectors: bytes) -> list[float] | None:
    """Return the attribute ``vector`` out of a row's vectors, or None when it has none.

    Args:
        vectors: A JSON object or nothing, as the cache keeps it: numbers where the store or the
            writer spelt them out, base64 of little-endian 32-bit floats where the writer did not.
    """
    if not vectors:
        return None
    found = _DECODER.decode(vectors).vector
    if not isinstance(found, str):
        return found
    packed = base64.b64decode(found)
    return list(struct.unpack(f"<{len(packed) // FLOAT_BYTES}f", packed))


def check_vector(key: str, value: Raw, where: str) -> None:
    """Refuse what cannot be a vector, without parsing one: its ends tell numbers from the rest.

    What stands between them is upstream's to judge; parsing it here would cost more than all
    the rest of a write.

    Args:
        key: ``vector`` or ``vectors``.
        where: The row, for the message.

    Raises:
        InvalidRequestError: ``VECTOR_INVALID``.
    """
    if is_null(value):
        return
    text = memoryview(value)
    first, last = _ends(text)
    is_list = text[0] == ord("[")
    if key == "vectors":
        fine = is_list and first in b'["' and last in b']"'
    elif is_list:
        fine = first in b"-0123456789" and last in b"0123456789"
    else:
        fine = text[0] == ord('"') and _is_float32_base64(text[1:-1])
    if not fine:
        raise InvalidRequestError(
            "VECTOR_INVALID",
            f"{where}.{key} is neither a non-empty list of numbers nor the base64 of "
            "little-endian 32-bit floats.",
            field=f"{where}.{key}",
        )


def _ends(text: memoryview) -> tuple[int, int]:
    """Return the bytes that follow the opening and precede the closing one, past white space."""
    head, tail = bytes(text[1:EDGE_BYTES]).lstrip(), bytes(text[-EDGE_BYTES:-1]).rstrip()
    if not head or not tail:
        head = tail = bytes(text[1:-1]).strip() or b"\0"
    return head[0], tail[-1]


def _is_float32_base64(text: memoryview) -> bool:
    end = bytes(text[-2:])
    padding = 2 if end == b"==" else 1 if end.endswith(b"=") else 0
    byte_count, remainder = divmod(len(text) * 3, 4)
    return remainder == 0 and byte_count > padding and (byte_count - padding) % 4 == 0


def vector_dimension(value: Raw) -> int | None:
    """Return how many components a vector has, without reading them; None for other values."""
    text = bytes(value)
    if text.startswith(b"[") and b"[" not in text[1:] and b'"' not in text:
        return text.count(b",") + 1
    if text.startswith(b'"'):
        padding = 2 if text.endswith(b'=="') else 1 if text.endswith(b'="') else 0
        return ((len(text) - 2) * 3 // 4 - padding) // FLOAT_BYTES
    return None


def taken_vectors(row: RawObject, keys: Sequence[str], before: Piece, where: str) -> Piece:
    """Check the vectors of ``row`` and take those that are not null out of it.

    Returns:
        What was taken ``before``, with them, as fields.
    """
    taken: RawObject = {}
    for key in keys:
        check_vector(key, row[key], where)
        if not is_null(row[key]):
            taken[key] = row.pop(key)
    found = joined_vectors(taken)
    return b"".join((before, b",", found)) if before and found else before or found


def joined_vectors(vectors: RawObject) -> bytes:
    """Return what is not null as fields of a JSON object."""
    pieces: list[bytes] = []
    for key, value in vectors.items():
        if not is_null(value):
            pieces += (_KEY_TEXTS[key], value)
    return b"".join((pieces[0][1:], *pieces[1:])) if pieces else b""
