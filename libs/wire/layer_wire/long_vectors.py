"""Long vectors of a write, set aside while the rest of it is read.

Nearly all of a write is its vectors, and layer reads none of them. A number stands in for each
while the rest is decoded. A vector is looked at only at its ends: what stands between is upstream's
to judge.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from itertools import accumulate, repeat
from typing import Final

from layer_kit.turns import Steps
from layer_wire.jsontext import Piece, Raw, RawObject
from layer_wire.vectors import FLOAT_BYTES

LONG_BYTES_MIN: Final = 256
"""A shorter vector is read sooner than it is set aside."""

NEAR_BYTES: Final = 16 * 1024
"""How far the next vector is looked for at first: a search of all that follows takes longer to
begin than a row is long."""

STEP_BYTES: Final = 1024 * 1024

VECTOR_KEY: Final = "vector"
_KEY_TEXT: Final = b'"vector":'
_KEY_BYTES: Final = len(_KEY_TEXT)
VALUE_BYTES_MIN: Final = _KEY_BYTES + 2
"""So much there is at least from the name on, or the body has been cut off."""

_TEXT_ENDS: Final = (b'[^=]{2}"', b'[^=]="', b'=="')
"""How base64 ends, by how much it is padded."""

_FIRST_LONG: Final = re.compile(rb'("vector": ?["\[])[^"\]]{%d}' % LONG_BYTES_MIN)
_BRACKET, _PAD, _SPACE = b"[= "
_DIGITS: Final = frozenset(b"0123456789")
_NUMBER_BEGINS: Final = _DIGITS | frozenset(b"-")
_STAND_IN: Final = b"-%d" % secrets.randbits(128)
"""Not to be guessed, so that no body holds it."""

_STAND_IN_FIELD: Final = _KEY_TEXT + _STAND_IN
_STAND_IN_VALUE: Final = Raw(_STAND_IN)


def without_long_vectors(body: bytes) -> Steps[tuple[bytes, list[memoryview]]]:
    """Return ``body`` with a number for each long vector, and the vectors in their order.

    Each comes as a field, with its name, as it stands in ``body``: it is copied when it is sent or
    kept, and not before. The first that is not plain ends the search, so that no body can be
    searched through many times over.
    """
    at = body.find(_KEY_TEXT)
    first = _FIRST_LONG.search(body, at) if at >= 0 else None
    if first is None:
        return body, []
    if first[1].endswith(b'"'):
        between, vectors = yield from _texts(body, *first.span(1))
    else:
        between, vectors = yield from _lists(body, first.start())
    return _STAND_IN_FIELD.join(between), vectors


def by_row(rows: Sequence[RawObject], vectors: Sequence[memoryview]) -> list[Piece] | None:
    """Take the stand-ins out of ``rows`` and return the vector of each, empty where it has none.

    None when a number stands elsewhere too, in an attribute say; then the body is to be read whole,
    and ``rows`` are of no use any more.
    """
    values = list(map(dict.pop, rows, repeat(VECTOR_KEY), repeat(None)))
    if values.count(_STAND_IN_VALUE) != len(vectors):
        return None
    if len(vectors) == len(rows):
        return list(vectors)
    waiting = iter(vectors)
    found: list[Piece] = [b""] * len(rows)
    for at, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value == _STAND_IN_VALUE:
            found[at] = next(waiting)
        elif value is not None:
            row[VECTOR_KEY] = value
    return found


def _lists(body: bytes, at: int) -> Steps[tuple[list[bytes], list[memoryview]]]:
    """Return what stands between the long lists of numbers from ``at`` on, and these."""
    text, find, size_bytes = memoryview(body), body.find, len(body)
    between: list[bytes] = []
    vectors: list[memoryview] = []
    done, step_ends = 0, STEP_BYTES
    while 0 <= at < size_bytes - VALUE_BYTES_MIN:
        start = at + _KEY_BYTES
        if body[start] == _SPACE:
            start += 1
        end = _end_of_list(body, start)
        if not end:
            break
        if end - start >= LONG_BYTES_MIN:
            between.append(body[done:at])
            vectors.append(text[at:end])
            done = end
        if end > step_ends:
            step_ends = end + STEP_BYTES
            yield
        at = find(_KEY_TEXT, end, end + NEAR_BYTES)
        if at < 0:
            at = find(_KEY_TEXT, end)
    return [*between, body[done:]], vectors


def _texts(body: bytes, at: int, start: int) -> Steps[tuple[list[bytes], list[memoryview]]]:
    """Return what stands between the texts as long as that at ``start``, and these, as fields.

    The vectors of a write are of one length, so that each is found by a leap to its end.
    """
    text, find = memoryview(body), body.find
    between: list[bytes] = []
    vectors: list[memoryview] = []
    end = find(b'"', start)
    if end < 0 or not _is_base64(body, start, end):
        return [body], vectors
    opening, text_bytes, field_bytes = body[at:start], end - start, end + 1 - at
    closing = _TEXT_ENDS[body.count(_PAD, end - 2, end)]
    alike = re.compile(b"(?s)%b.{%d}%b" % (opening, text_bytes - 2, closing))
    done, step_bytes = 0, STEP_BYTES
    while done < len(body):
        *found, _ = alike.split(text[done : done + step_bytes])
        if not found:
            if done + step_bytes >= len(body):
                break
            step_bytes *= 2  # as long as one vector, or as what stands before the next
            continue
        ends = list(accumulate([len(one) + field_bytes for one in found], initial=done))[1:]
        lasts = [end - 1 for end in ends]
        starts = [last - text_bytes for last in lasts]
        if list(map(find, repeat(b'"'), starts)) != lasts or _is_escaped(body, starts, lasts):
            break
        between += found
        vectors += map(text.__getitem__, map(slice, [end - field_bytes for end in ends], ends))
        done = ends[-1]
        yield
    return [*between, body[done:]], vectors


def _is_escaped(body: bytes, starts: Sequence[int], ends: Sequence[int]) -> bool:
    """Tell whether one of several strings holds an escape."""
    if body.find(b"\\", starts[0], ends[-1]) < 0:
        return False
    return max(map(body.find, repeat(b"\\"), starts, ends)) >= 0


def _is_base64(body: bytes, start: int, end: int) -> bool:
    """Tell by its length whether a text is the base64 of 32-bit floats."""
    group_count, remainder = divmod(end - start, 4)
    return not remainder and not (group_count * 3 - body.count(_PAD, end - 2, end)) % FLOAT_BYTES


def _end_of_list(body: bytes, start: int) -> int:
    """Return where a list of numbers ends, or 0 when it does not; anything else ends at once."""
    if body[start] != _BRACKET:
        return start
    end = body.find(b"]", start) + 1
    if end - start < LONG_BYTES_MIN:
        return end
    is_plain = body[start + 1] in _NUMBER_BEGINS and body[end - 2] in _DIGITS
    return end if is_plain and not _is_nested(body, start + 1, end) else 0


def _is_nested(body: bytes, start: int, end: int) -> bool:
    """Tell whether a list holds more than numbers."""
    find = body.find
    return find(b'"', start, end) >= 0 or find(b"[", start, end) >= 0 or find(b"{", start, end) >= 0
