"""Reading a stored vector, in the few places that need its numbers."""

from __future__ import annotations

import base64
import struct
from typing import Final

import msgspec

FLOAT_BYTES: Final = 4


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
