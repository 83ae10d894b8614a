"""Long vectors of a write, set aside while the rest of it is read.

Nearly all of a write is its vectors, and layer reads none of them. A number stands in for each
while the rest is decoded. A vector is looked at only at its ends: what stands between is upstream's
to judge.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from layer_wire.jsontext import Piece, Raw, RawObject
from layer_wire.vectors import FLOAT_BYTES

LONG_BYTES_MIN: Final = 256
"""A shorter vector is read sooner than it is set aside."""

NEAR_BYTES: Final = 16 * 1024
"""How far the next vector is looked for at first: a search of all that follows takes longer to
begin than a row is long."""

VECTOR_KEY: Final = "vector"
_KEY_TEXT: Final = b'"vector":'
_KEY_BYTES: Final = len(_KEY_TEXT)
VALUE_BYTES_MIN: Final = _KEY_BYTES + 2
"""So much there is at least from the name on, or the body has been cut off."""

_BRACKET, _QUOTE, _PAD, _SPACE = b'["= '
_DIGITS: Final = frozenset(b"0123456789")
_NUMBER_BEGINS: Final = _DIGITS | frozenset(b"-")
_STAND_IN: Final = b"-%d" % secrets.randbits(128)
"""Not to be guessed, so that no body holds it."""

_STAND_IN_VALUE: Final = Raw(_STAND_IN)


def without_long_vectors(body: bytes) -> tuple[bytes, list[memoryview]]:
    """Return ``body`` with a number for each long vector, and the vectors in their order.

    Each comes as a field, with its name, as it stands in ``body``: it is copied when it is sent or
    kept, and not before. The first that is not plain ends the search, so that no body can be
    searched through many times over.
    """
    text, find, size_bytes = memoryview(body), body.find, len(body)
    kept: list[bytes] = []
    vectors: list[memoryview] = []
    done = plain_bytes = 0
    at = find(_KEY_TEXT)
    while 0 <= at < size_bytes - VALUE_BYTES_MIN:
        start = at + _KEY_BYTES
        if body[start] == _SPACE:
            start += 1
        is_plain = False
        if body[start] == _QUOTE:
            end = find(b'"', start + 1) + 1
            if find(b"\\", start, end) >= 0:
                break
            # Those of one write have mostly one length, by which base64 is told.
            is_plain = end - start == plain_bytes and body[end - 2] != _PAD
        else:
            end = _end_of_list(body, start)
        if not end:
            break
        if end - start >= LONG_BYTES_MIN:
            if not is_plain:
                if not _is_plain(body, start, end):
                    break
                plain_bytes = end - start if _is_unpadded_text(body, start, end) else 0
            kept += (body[done:start], _STAND_IN)
            vectors.append(text[at:end])
            done = end
        at = find(_KEY_TEXT, end, end + NEAR_BYTES)
        if at < 0:
            at = find(_KEY_TEXT, end)
    return (b"".join((*kept, text[done:])) if vectors else body), vectors


def by_row(rows: Sequence[RawObject], vectors: Sequence[memoryview]) -> list[Piece] | None:
    """Take the stand-ins out of ``rows`` and return the vector of each, empty where it has none.

    None when a number stands elsewhere too, in an attribute say; then the body is to be read whole.
    """
    values = [row.get(VECTOR_KEY) for row in rows]
    if values.count(_STAND_IN_VALUE) != len(vectors):
        return None
    waiting = iter(vectors)
    found: list[Piece] = list(vectors)
    if len(vectors) < len(rows):
        found = [next(waiting) if value == _STAND_IN_VALUE else b"" for value in values]
    for row, fields in zip(rows, found, strict=True):
        if fields:
            del row[VECTOR_KEY]
    return found


def _end_of_list(body: bytes, start: int) -> int:
    """Return where a list of numbers ends, or 0 when it does not; anything else ends at once."""
    if body[start] != _BRACKET:
        return start
    end = body.find(b"]", start) + 1
    return 0 if _is_nested(body, start + 1, end) else end


def _is_unpadded_text(body: bytes, start: int, end: int) -> bool:
    return body[start] == _QUOTE and body[end - 2] != _PAD


def _is_nested(body: bytes, start: int, end: int) -> bool:
    """Tell whether a list holds more than numbers."""
    find = body.find
    return find(b'"', start, end) >= 0 or find(b"[", start, end) >= 0 or find(b"{", start, end) >= 0


def _is_plain(body: bytes, start: int, end: int) -> bool:
    """Tell by its ends whether a long value is numbers, or base64 of 32-bit floats."""
    last = body[end - 2]
    if body[start] != _QUOTE:
        return body[start + 1] in _NUMBER_BEGINS and last in _DIGITS
    group_count, remainder = divmod(end - start - 2, 4)
    padding = (last == _PAD) + (body[end - 3] == _PAD)
    return not remainder and not (group_count * 3 - padding) % FLOAT_BYTES
