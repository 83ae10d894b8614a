"""Entries as an embedded store keeps them: a header, the body, the vectors."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final, cast

from layer_cache.domain.limits import BIG_ROW_BYTES
from layer_cache.domain.rows import Entry, Hits, NewRows, RowKey, Rows

_HEADER: Final = struct.Struct(">QQI")  # era, written_ms, bytes of the body
_TO_THE_END: Final = 2**32 - 1
"""Stands for the bytes of a body that no vectors follow, so that rows put together begin alike."""

_HEAD: Final = itemgetter(slice(_HEADER.size))
_REST: Final = itemgetter(slice(_HEADER.size, None))


def sizes_of(entries: Iterable[tuple[RowKey, Entry]]) -> Iterator[int]:
    """Yield the bytes of the row in each."""
    return (len(entry.body) + len(entry.vectors) for _, entry in entries)


def has_big(sizes: Iterable[int]) -> bool:
    """Tell whether one of the rows of these sizes is above ``BIG_ROW_BYTES``."""
    return max(sizes, default=0) > BIG_ROW_BYTES


def encode_new(rows: NewRows, *, era: int, written_ms: int) -> Iterable[bytes]:
    """Return what is stored for each; where there are vectors one at a time, since it is long."""
    pack = _HEADER.pack
    alike = pack(era, written_ms, _TO_THE_END)
    if not any(rows.vectors):
        return [alike + body for body in rows.bodies]
    return (
        b"".join((pack(era, written_ms, len(body)), body, vectors)) if vectors else alike + body
        for body, vectors in zip(rows.bodies, rows.vectors, strict=True)
    )


def encode_each(entries: Iterable[tuple[RowKey, Entry]]) -> Iterator[bytes]:
    """Yield what is stored for each; those that were written together share the work on a head."""
    era = written_ms = -1
    head = b""
    for _, entry in entries:
        if entry.vectors:
            own = _HEADER.pack(entry.era, entry.written_ms, len(entry.body))
            yield b"".join((own, entry.body, entry.vectors))
            continue
        if entry.written_ms != written_ms or entry.era != era:
            era, written_ms = entry.era, entry.written_ms
            head = _HEADER.pack(era, written_ms, _TO_THE_END)
        yield head + entry.body


def decode_all(values: Sequence[bytes | None], oldest_ms: int) -> list[Entry | None]:
    """Return the entries out of what is stored; None where there is none or it is over age.

    Their vectors, which nearly always are only kept for a while, are not copied.
    """
    unpack, head_bytes = _HEADER.unpack_from, _HEADER.size
    return [
        None
        if value is None or (head := unpack(value))[1] <= oldest_ms
        else Entry(
            head[0],
            head[1],
            value[head_bytes : (body_end := head_bytes + head[2])],
            memoryview(value)[body_end:] if len(value) > body_end else b"",
        )
        for value in values
    ]


def find_all(
    values: Sequence[bytes | None], *, oldest_ms: int, era_min: int, with_vectors: bool
) -> Hits:
    """Return what counts of it; as with :func:`alive_of`, most need no look at each."""
    if None not in values:
        stored = cast("Sequence[bytes]", values)
        if _are_plain(stored, oldest_ms=oldest_ms, era_min=era_min):
            return Hits(list(range(len(stored))), list(map(_REST, stored)), [b""] * len(stored))
    hits = Hits([], [], [])
    unpack, head_bytes = _HEADER.unpack_from, _HEADER.size
    for position, value in enumerate(values):
        if value is None:
            continue
        era, written_ms, body_bytes = unpack(value)
        if written_ms <= oldest_ms or era < era_min:
            continue
        body_end = head_bytes + body_bytes
        hits.positions.append(position)
        hits.bodies.append(value[head_bytes:body_end])
        hits.vectors.append(value[body_end:] if with_vectors else b"")
    return hits


def alive_of(
    keys: Sequence[RowKey], values: Sequence[bytes], *, oldest_ms: int, era_min: int
) -> Rows:
    """Return what counts of it; a call for each row would take as long as the rest."""
    if _are_plain(values, oldest_ms=oldest_ms, era_min=era_min):
        return Rows(keys, values, _REST)
    unpack, head_bytes = _HEADER.unpack_from, _HEADER.size
    alive = [
        (key, value[head_bytes : head_bytes + body_bytes])
        for key, value in zip(keys, values, strict=True)
        for era, written_ms, body_bytes in (unpack(value),)
        if written_ms > oldest_ms and era >= era_min
    ]
    return Rows([key for key, _ in alive], [body for _, body in alive])


def _are_plain(values: Sequence[bytes], *, oldest_ms: int, era_min: int) -> bool:
    """Tell whether all of it counts and is a body alone; what was put together has one head."""
    for head in set(map(_HEAD, values)):
        era, written_ms, body_bytes = _HEADER.unpack(head)
        if written_ms <= oldest_ms or era < era_min or body_bytes != _TO_THE_END:
            return False
    return True
