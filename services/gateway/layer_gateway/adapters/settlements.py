"""What a write did, told to the cache in messages of a bounded size.

A large write in one message would hold the loop, of the gateway and of the cache, for as long as it
takes to copy all of its vectors several times over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from layer.cache.v1 import cache_pb2
from layer_kit.names import Namespace
from layer_wire.stamping import CacheRows

SETTLED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Rows settled of one write. The rest of a larger one is dropped and comes back by fetch."""

PART_BYTES_MAX: Final = 2 * 1024 * 1024
"""Rows in one message, unless a single one is larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an upstream write did to the rows under its fence, or to a part of them."""

    puts: CacheRows
    patches: CacheRows
    lifted: Sequence[bytes]
    is_outcome_known: bool
    is_partial: bool = False


def settlement_parts(outcome: Outcome) -> Iterator[Outcome]:
    """Yield an outcome in parts, of which only the last ends the fence."""
    *puts, last_puts = _parts(outcome.puts)
    *patches, last_patches = _parts(outcome.patches)
    nothing = CacheRows()
    for part in puts:
        yield Outcome(puts=part, patches=nothing, lifted=(), is_outcome_known=True, is_partial=True)
    for part in patches:
        yield Outcome(puts=nothing, patches=part, lifted=(), is_outcome_known=True, is_partial=True)
    yield replace(outcome, puts=last_puts, patches=last_patches)


def settlement_request(
    namespace: Namespace, fence_id: bytes, part: Outcome
) -> cache_pb2.SettleRowsRequest:
    """Return the message that tells of a part."""
    return cache_pb2.SettleRowsRequest(
        namespace=namespace,
        fence_id=fence_id,
        put_ids=part.puts.ids,
        put_bodies=part.puts.bodies,
        put_vectors=part.puts.vector_objects(),
        patch_ids=part.patches.ids,
        patch_bodies=part.patches.bodies,
        lift_ids=part.lifted,
        is_outcome_known=part.is_outcome_known,
        is_partial=part.is_partial,
    )


def first_bytes(rows: CacheRows, bytes_max: int) -> CacheRows:
    """Return the rows that come first, up to ``bytes_max`` in all."""
    total = 0
    for at, size in enumerate(_sizes(rows)):
        total += size
        if total > bytes_max:
            return _slice(rows, 0, at)
    return rows


def _parts(rows: CacheRows) -> list[CacheRows]:
    """Return the rows that are settled in parts, at least one."""
    rows = first_bytes(rows, SETTLED_BYTES_MAX)
    parts: list[CacheRows] = []
    start = part_bytes = 0
    for at, size in enumerate(_sizes(rows)):
        if at > start and part_bytes + size > PART_BYTES_MAX:
            parts.append(_slice(rows, start, at))
            start, part_bytes = at, 0
        part_bytes += size
    return [*parts, _slice(rows, start, len(rows.ids))]


def _sizes(rows: CacheRows) -> Iterator[int]:
    return map(int.__add__, map(len, rows.bodies), map(len, rows.vectors))


def _slice(rows: CacheRows, start: int, end: int) -> CacheRows:
    return CacheRows(
        ids=rows.ids[start:end], bodies=rows.bodies[start:end], vectors=rows.vectors[start:end]
    )
