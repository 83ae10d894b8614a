"""How streams of requests are cut into what is sent at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise
from random import Random
from typing import Final

from layer_gateway_testing.streams import Sent

NO_HTTP: Final = frozenset({"garbage", "two lengths", "not a length"})
"""Kinds that are refused as what they are, and end the connection. They come whole and when all is
answered: they spoil what comes in the same read, and nobody reads what comes after them."""

JOINED_SHARE: Final = 0.3
JOINED_SHARES: Final = {"at once": 1.0, "turns": 0.04}
CUT_SHARE: Final = 0.5
CUT_SHARES: Final = {"turns": 0.06, "at once": 0.0, "heads": 1.0}
"""Where requests take turns most come as errands serve them: one that is joined to another, or cut
in its head, is the last of its connection to do so."""

LONG_SHARE: Final = 0.02
HEAD_SHARE: Final = 0.3
BYTES_SHARE: Final = 0.3
TURNS_SHARE: Final = 0.9
BYTES_COUNT: Final = 40
"""How many bytes come one by one."""


class Pause(Enum):
    """What is waited for after a piece has been sent."""

    NOTHING = auto()
    A_TURN = auto()
    A_MOMENT = auto()
    A_WHILE = auto()
    """Longer than the gateway gathers the parts of a request."""
    ANSWERS = auto()
    """To all requests that have been sent whole."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What is sent at once.

    Attributes:
        whole_count: How many requests have been sent whole, this piece included.
    """

    text: bytes
    whole_count: int
    pause: Pause


def cut(chance: Random, sent: Sequence[Sent]) -> list[Piece]:
    """Cut a stream into pieces; how often, and what is waited for between them, differs."""
    way = chance.choice(("turns", "turns", "mixed", "mixed", "at once", "heads", "bytes"))
    pieces: list[Piece] = []
    held = b""
    for at, one in enumerate(sent):
        *parts, last = [one.text] if one.kind in NO_HTTP else _parts(chance, one, way)
        for part in parts:
            pieces.append(Piece(held + part, at, _pause(chance, way, is_whole=False)))
            held = b""
        held += last
        if sent[at + 1 :] and sent[at + 1].kind in NO_HTTP:
            pause = Pause.ANSWERS
        elif sent[at + 1 :] and chance.random() < JOINED_SHARES.get(way, JOINED_SHARE):
            continue
        else:
            pause = _pause(chance, way, is_whole=True)
        pieces.append(Piece(held, at + 1, pause))
        held = b""
    return pieces


def _parts(chance: Random, one: Sent, way: str) -> list[bytes]:
    """Return the parts of a request that are not sent at once."""
    size_bytes, places = len(one.text), set[int]()
    if chance.random() < CUT_SHARES.get(way, CUT_SHARE):
        if way == "heads" or chance.random() < HEAD_SHARE:
            places.add(one.head_bytes)
        else:
            places |= {chance.randrange(1, size_bytes) for _ in range(chance.randrange(1, 4))}
    if way == "bytes" and chance.random() < BYTES_SHARE:
        middle = one.head_bytes - BYTES_COUNT // 2
        start = chance.choice((1, middle, one.head_bytes, size_bytes - BYTES_COUNT))
        places |= set(range(max(1, start), start + BYTES_COUNT))
    edges = [0, *sorted(place for place in places if 0 < place < size_bytes), size_bytes]
    return [one.text[a:b] for a, b in pairwise(edges)]


def _pause(chance: Random, way: str, *, is_whole: bool) -> Pause:
    if way == "turns" and is_whole and chance.random() < TURNS_SHARE:
        return Pause.ANSWERS
    if chance.random() < LONG_SHARE:
        return Pause.A_WHILE
    return chance.choice(
        (Pause.NOTHING, Pause.NOTHING, Pause.A_TURN, Pause.A_MOMENT, Pause.ANSWERS)
    )
