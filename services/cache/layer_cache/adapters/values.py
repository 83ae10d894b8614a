"""Entries as an embedded store keeps them: a header, the body, the vectors."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import Final

from layer_cache.domain.limits import BIG_ROW_BYTES
from layer_cache.domain.rows import Entry, RowKey, Rows

_HEADER: Final = struct.Struct(">QQI")  # era, written_ms, bytes of the body
_TO_THE_END: Final = 2**32 - 1
"""Stands for the bytes of a body that no vectors follow, so that rows put together begin alike."""

_HEAD: Final = itemgetter(slice(_HEADER.size))
_REST: Final = itemgetter(slice(_HEADER.size, None))


def has_big(entries: Iterable[tuple[RowKey, Entry]]) -> bool:
    """Tell whether one of these is above ``BIG_ROW_BYTES``."""
    return any(len(entry.body) + len(entry.vectors) > BIG_ROW_BYTES for _, entry in entries)


def encode_each(entries: Iterable[tuple[RowKey, Entry]]) -> Iterator[tuple[RowKey, bytes]]:
    """Yield what is stored for each; those that were written together share the work on a head."""
    era = written_ms = -1
    head = b""
    for key, entry in entries:
        if entry.vectors:
            own = _HEADER.pack(entry.era, entry.written_ms, len(entry.body))
            yield key, b"".join((own, entry.body, entry.vectors))
            continue
        if entry.written_ms != written_ms or entry.era != era:
            era, written_ms = entry.era, entry.written_ms
            head = _HEADER.pack(era, written_ms, _TO_THE_END)
        yield key, head + entry.body


def decode_all(values: Sequence[bytes | None], oldest_ms: int) -> list[Entry | None]:
    """Return the entries out of what is stored; None where there is none or it is over age."""
    unpack, head_bytes = _HEADER.unpack_from, _HEADER.size
    return [
        None
        if value is None or (head := unpack(value))[1] <= oldest_ms
        else Entry(
            head[0],
            head[1],
            value[head_bytes : (body_end := head_bytes + head[2])],
            value[body_end:],
        )
        for value in values
    ]


def alive_of(
    keys: Sequence[RowKey], values: Sequence[bytes], *, oldest_ms: int, era_min: int
) -> Rows:
    """Return what counts of it; a call for each row would take as long as the rest."""
    heads = map(_HEADER.unpack, set(map(_HEAD, values)))
    if all(
        written_ms > oldest_ms and era >= era_min and body_bytes == _TO_THE_END
        for era, written_ms, body_bytes in heads
    ):
        return Rows(keys, values, _REST)
    unpack, head_bytes = _HEADER.unpack_from, _HEADER.size
    alive = [
        (key, value[head_bytes : head_bytes + body_bytes])
        for key, value in zip(keys, values, strict=True)
        for era, written_ms, body_bytes in (unpack(value),)
        if written_ms > oldest_ms and era >= era_min
    ]
    return Rows([key for key, _ in alive], [body for _, body in alive])
