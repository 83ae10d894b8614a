"""The order of rows that only a misspelling finds: no score of the store tells them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from layer_wire.ids import JsonId
from layer_wire.ranking import id_order

FNV_OFFSET: Final = 0xCBF29CE484222325
FNV_PRIME: Final = 0x100000001B3
_64_BITS: Final = 0xFFFFFFFFFFFFFFFF


def nearest_first(token: str, rows: Iterable[tuple[JsonId, Sequence[str]]]) -> list[JsonId]:
    """Order rows by how near their nearest word is to ``token``; rows without words come last.

    Ties are ordered by a hash of the id, so that no end of the alphabet is favoured, then by id.

    Args:
        rows: Ids with the words of the searched field.
    """
    distances: dict[str, int] = {}  # the same words come again in row after row
    keyed = []
    for id_, words in rows:
        for word in words:
            if word not in distances:
                distances[word] = edit_distance(token, word)
        nearest = min((distances[word] for word in words), default=None)
        is_without = nearest is None
        keyed.append((is_without, nearest or 0, fnv1a_64(str(id_).encode()), id_order(id_), id_))
    return [entry[-1] for entry in sorted(keyed)]


def edit_distance(first: str, second: str) -> int:
    """Return the Levenshtein distance, by bit vectors as wide as ``first`` (Hyyrö 2003)."""
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for at, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << at
    full, last = (1 << len(first)) - 1, 1 << (len(first) - 1)
    up, down, distance = full, 0, len(first)
    for character in second:
        matching = places.get(character, 0)
        diagonal = (((matching & up) + up) ^ up) | matching | down
        right_up = (down | ~(diagonal | up)) & full
        right_down = up & diagonal
        distance += bool(right_up & last) - bool(right_down & last)
        right_up = right_up << 1 | 1
        up = (right_down << 1 | ~(diagonal | right_up)) & full
        down = right_up & diagonal & full
    return distance


def fnv1a_64(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash (draft-eastlake-fnv)."""
    found = FNV_OFFSET
    for byte in data:
        found = (found ^ byte) * FNV_PRIME & _64_BITS
    return found
