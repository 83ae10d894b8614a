"""What a write did, told to the cache in messages of a bounded size.

A large write in one message would hold the loop, of the gateway and of the cache, for as long as it
takes to copy all of its vectors several times over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, chain, repeat
from typing import Final

import grpc.aio

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_kit.names import Namespace
from layer_wire.jsontext import Piece
from layer_wire.stamping import CacheRows

SETTLED_BYTES_MAX: Final = 32 * 1024 * 1024
"""Rows settled of one write. The rest of a larger one is dropped and comes back by fetch."""

PART_BYTES_MAX: Final = 2 * 1024 * 1024
"""Rows in one message, unless a single one is larger."""

METHOD: Final = "/layer.cache.v1.CacheService/SettleRows"
_LENGTH_DELIMITED: Final = 2
_VECTORS_TAG: Final = bytes(
    [cache_pb2.SettleRowsRequest.PUT_VECTORS_FIELD_NUMBER << 3 | _LENGTH_DELIMITED]
)
_BRACES_BYTES: Final = len(b"{}")
_SEVEN_BITS: Final = 0x7F


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


class CacheStub(cache_pb2_grpc.CacheServiceStub):
    """The generated stub, and a way to settle by a message that is encoded already."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self.settle: grpc.aio.UnaryUnaryMultiCallable[bytes, cache_pb2.SettleRowsResponse] = (
            channel.unary_unary(
                METHOD, response_deserializer=cache_pb2.SettleRowsResponse.FromString
            )
        )


def settlement_message(namespace: Namespace, fence_id: bytes, part: Outcome) -> bytes:
    """Return the encoded message that tells of a part.

    Vectors are most of it. They are put behind the rest here, from the body that they came in, and
    by nobody else: a message would take copies of them and be copied itself.
    """
    rest = cache_pb2.SettleRowsRequest(
        namespace=namespace,
        fence_id=fence_id,
        put_ids=part.puts.ids,
        put_bodies=part.puts.bodies,
        patch_ids=part.patches.ids,
        patch_bodies=part.patches.bodies,
        lift_ids=part.lifted,
        is_outcome_known=part.is_outcome_known,
        is_partial=part.is_partial,
    )
    return b"".join((rest.SerializeToString(), *_vector_fields(part.puts.vectors)))


def _vector_fields(vectors: Sequence[Piece]) -> Iterator[Piece]:
    """Yield ``put_vectors`` as they are encoded, in pieces; nothing when no row has any."""
    sizes = list(map(len, vectors))
    if not any(sizes):
        return iter(())
    ends = repeat(b"}") if all(sizes) else [b"}" if size else b"" for size in sizes]
    return chain.from_iterable(zip(map(_before_vectors, sizes), vectors, ends, strict=False))


@lru_cache(maxsize=1024)
def _before_vectors(fields_bytes: int) -> bytes:
    """Return what precedes the vectors of a row: tag, length and, unless it has none, a brace."""
    if not fields_bytes:
        return _VECTORS_TAG + b"\0"
    left, text = fields_bytes + _BRACES_BYTES, bytearray(_VECTORS_TAG)
    while left > _SEVEN_BITS:
        text.append(left & _SEVEN_BITS | _SEVEN_BITS + 1)
        left >>= 7
    text.append(left)
    return bytes(text + b"{")


def first_bytes(rows: CacheRows, bytes_max: int) -> CacheRows:
    """Return the rows that come first, up to ``bytes_max`` in all."""
    ends = _ends(rows)
    count = bisect_right(ends, bytes_max)
    return rows if count == len(ends) else _slice(rows, 0, count)


def _parts(rows: CacheRows) -> list[CacheRows]:
    """Return the rows that are settled in parts, at least one."""
    ends = _ends(rows)
    count = bisect_right(ends, SETTLED_BYTES_MAX)
    parts: list[CacheRows] = []
    start = done_bytes = 0
    while start < count:
        stop = max(bisect_right(ends, done_bytes + PART_BYTES_MAX, start, count), start + 1)
        parts.append(_slice(rows, start, stop))
        start, done_bytes = stop, ends[stop - 1]
    return parts or [CacheRows()]


def _ends(rows: CacheRows) -> list[int]:
    """Return the bytes of the rows up to and with each."""
    return list(accumulate(map(int.__add__, map(len, rows.bodies), map(len, rows.vectors))))


def _slice(rows: CacheRows, start: int, end: int) -> CacheRows:
    return CacheRows(
        ids=rows.ids[start:end], bodies=rows.bodies[start:end], vectors=rows.vectors[start:end]
    )
