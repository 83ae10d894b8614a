"""Gateways and their writes as the promise's state machine plays them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import msgspec

from layer_cache.application.writes import Settlement
from layer_cache.domain.fences import FenceName
from layer_cache.domain.rows import RowKey, row_keys
from layer_kit.names import Namespace

Row = dict[str, int]

BOOKS: Final = Namespace("books")


@dataclass(eq=False)
class Gateway:
    """What a gateway process remembers, as the contract wants it."""

    member_id: str
    session_id: str | None = None
    is_confirmed: bool = False
    has_joined: bool = False
    is_dead: bool = False
    is_cut_off: bool = False
    answered_number: int = 0
    answered_sent_s: float = 0.0
    last_sent_s: float = 0.0
    round_trip_s: float = 0.0
    unfenced: list[Write] = field(default_factory=list)


@dataclass(eq=False)
class Write:
    """One write on its way through a gateway."""

    gateway: Gateway
    kind: str
    ids: list[bytes]
    fence: FenceName
    is_fenced: bool = False
    is_applied: bool = False
    is_acknowledged: bool = False
    version: int = 0
    rows: dict[bytes, Row | None] = field(default_factory=dict)
    """What the rows that it touched became; None is a deleted row."""

    settled: set[bytes] = field(default_factory=set)
    """Rows that a part of its settlement named."""


def keys(ids: list[bytes]) -> list[RowKey]:
    return row_keys(BOOKS, ids, count_max=len(ids))


def settlement(write: Write) -> Settlement:
    """Tell the cache what a write did, as upstream's answer says."""
    ids = [row_id for row_id in write.ids if row_id not in write.settled]
    by_key = dict(zip(keys(ids), ids, strict=True))
    touched = {key: write.rows[row_id] for key, row_id in by_key.items() if row_id in write.rows}
    lifts = frozenset(by_key) - frozenset(touched)
    if write.kind == "patch":
        patch = msgspec.json.encode({"patched": write.version})
        return Settlement(patches=dict.fromkeys(touched, patch), lifts=lifts)
    rows = {key: row for key, row in touched.items() if row is not None}
    puts = {key: (msgspec.json.encode(row), b"") for key, row in rows.items()}
    return Settlement(puts=puts, lifts=lifts)


def a_part(outcome: Settlement) -> Settlement:
    """Return what a settlement says of one of the rows that it changed."""
    puts, patches = dict(islice(outcome.puts.items(), 1)), dict(islice(outcome.patches.items(), 1))
    return Settlement(puts=puts, patches=patches, is_outcome_known=True, is_partial=True)
