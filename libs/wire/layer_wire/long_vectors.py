"""Long vectors of a write, set aside while the rest of it is read.

Nearly all of a write is its vectors, and layer reads none of them. A number stands in for each
while the rest is decoded. A vector is looked at only at its ends: what stands between is upstream's
to judge.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from layer_wire.jsontext import Raw, RawObject
from layer_wire.vectors import FLOAT_BYTES

LONG_BYTES_MIN: Final = 256
"""A shorter vector is read sooner than it is set aside."""

NEAR_BYTES: Final = 16 * 1024
"""How far the next vector is looked for at first: a search of all that follows takes longer to
begin than a row is long."""

VECTOR_KEY: Final = "vector"
_KEY_TEXT: Final = b'"vector":'
_BRACKET, _QUOTE, _PAD = b'["='
_DIGITS: Final = frozenset(b"0123456789")
_NUMBER_BEGINS: Final = _DIGITS | frozenset(b"-")
_OPENING: Final = b'{"vector":'
_STAND_IN: Final = b"-%d" % secrets.randbits(128)
"""Not to be guessed, so that no body holds it."""

_STAND_IN_VALUE: Final = Raw(_STAND_IN)


def without_long_vectors(body: bytes) -> tuple[bytes, list[bytes]]:
    """Return ``body`` with a number for each long vector, and the vectors in their order.

    Each comes as the cache keeps it, an object of its own. It is found and copied in one go, while
    the processor has it at hand. The first that is not plain ends the search, so that no body can
    be searched through many times over.
    """
    text, find = memoryview(body), body.find
    kept: list[bytes] = []
    vectors: list[bytes] = []
    done = 0
    at = find(_KEY_TEXT)
    while at >= 0:
        start = at + len(_KEY_TEXT)
        if body.startswith(b" ", start):
            start += 1
        first = body[start] if start < len(body) else None
        end = start
        if first == _QUOTE:
            end = find(b'"', start + 1) + 1
            if not end or find(b"\\", start, end) >= 0:
                break
        elif first == _BRACKET:
            end = find(b"]", start) + 1
            if not end or _is_nested(body, start + 1, end):
                break
        if end - start >= LONG_BYTES_MIN:
            if not _is_plain(body, start, end):
                break
            kept += (body[done:start], _STAND_IN)
            vectors.append(b"".join((_OPENING, text[start:end], b"}")))
            done = end
        at = find(_KEY_TEXT, end, end + NEAR_BYTES)
        if at < 0:
            at = find(_KEY_TEXT, end)
    return (b"".join((*kept, text[done:])) if vectors else body), vectors


def by_row(rows: Sequence[RawObject], vectors: Sequence[bytes]) -> list[bytes] | None:
    """Take the stand-ins out of ``rows`` and return the vector of each, empty where it has none.

    None when a number stands elsewhere too, in an attribute say; then the body is to be read whole.
    """
    found: list[bytes] = []
    waiting = iter(vectors)
    for row in rows:
        if row.get(VECTOR_KEY) == _STAND_IN_VALUE:
            del row[VECTOR_KEY]
            found.append(next(waiting, b""))
        else:
            found.append(b"")
    return found if sum(map(bool, found)) == len(vectors) else None


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
