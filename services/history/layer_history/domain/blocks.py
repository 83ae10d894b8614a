"""Segments: sorted lines in blocks, with what tells a reader which blocks it can pass by.

A block knows its first and last moment, the tags in it, and a Bloom filter of its trace ids
(Bloom 1970): 16 bits an event and 6 probes, so that a block without a trace is read for it about
once in a thousand times. A packed segment is one gzip member a block, which together are one gzip
file (RFC 1952, 2.2).
"""

from __future__ import annotations

import hashlib
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from isal import isal_zlib

from layer_history.domain.events import Event
from layer_history.domain.limits import BLOCK_BYTES, SEGMENT_BYTES_MAX
from layer_history.domain.names import LINES_SUFFIX, PACKED_SUFFIX, SegmentName, Stream, day_of

_moment: Final = operator.attrgetter("time_ns")

TAGS_TOLD_MAX: Final = 64
GZIP_WINDOW_BITS: Final = 31
GZIP_LEVEL: Final = 2
_BITS_PER_EVENT: Final = 16
_PROBES: Final = 6
_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""2^128 divided by the golden ratio, odd."""

_ONE: Final = ord("1")
_WORD: Final = 2**64 - 1
_WORDS: Final = 2**128 - 1


class Block(msgspec.Struct, frozen=True, array_like=True):
    """A run of lines within a segment."""

    first_ns: int
    last_ns: int
    offset: int
    """Of its first byte in the segment as it is stored."""
    length: int
    """Bytes as stored."""
    count: int
    traces: bytes
    """The filter of the trace ids."""
    tags: tuple[str, ...] | None
    """Every tag in it; None when there are more than ``TAGS_TOLD_MAX``."""

    def may_hold(self, tags: Sequence[str], probes: Sequence[int]) -> bool:
        """Tell whether an event with all ``tags``, of the trace of ``probes``, can be in it."""
        if self.tags is not None and not all(tag in self.tags for tag in tags):
            return False
        bit_count = len(self.traces) * 8
        return all(
            self.traces[(bit := probe % bit_count) >> 3] >> (bit & 7) & 1 for probe in probes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """An object before it is written."""

    name: SegmentName
    body: bytes
    blocks: list[Block]


def trace_probes(trace_id: str) -> Sequence[int]:
    """Return where filters are asked about a trace; nothing for no trace.

    Probes are in arithmetic progression (Kirsch and Mitzenmacher 2006) from a product that spreads
    ids which are not random, as those of a client that counts up (Knuth, vol. 3, 6.4).
    """
    if not trace_id:
        return ()
    try:
        number = int(trace_id, 16)
    except ValueError:  # by others, who may call anything a trace
        number = int.from_bytes(hashlib.blake2b(trace_id.encode(), digest_size=16).digest())
    spread = number * _SPREAD & _WORDS
    start, step = spread >> 64, spread & _WORD | 1
    return range(start, start + _PROBES * step, step)


def build_segments(
    stream: Stream, events: Iterable[Event], *, origin: str, is_packed: bool = False
) -> Iterator[Segment]:
    """Yield segments of one day each, of about ``SEGMENT_BYTES_MAX`` of lines at most.

    Args:
        events: In any order; copies are left out.
        origin: Told apart by a number where one day makes several segments.
    """
    for _, of_day in itertools.groupby(sort_once(events), lambda one: day_of(one.time_ns)):
        for number, (body, blocks) in enumerate(_bodies(list(of_day), is_packed=is_packed)):
            name = SegmentName(
                stream=stream,
                first_ns=blocks[0].first_ns,
                last_ns=blocks[-1].last_ns,
                origin=f"{origin}{number:02x}",
                suffix=PACKED_SUFFIX if is_packed else LINES_SUFFIX,
            )
            yield Segment(name=name, body=body, blocks=blocks)


def sort_once(events: Iterable[Event]) -> list[Event]:
    """Return events by time, oldest first, without copies."""
    ordered = sorted(events, key=_moment)
    moments = [event.time_ns for event in ordered]
    if all(map(operator.lt, moments, moments[1:])):  # as nearly always
        return ordered
    ordered.sort(key=lambda event: event.identity)
    return [
        event
        for at, event in enumerate(ordered)
        if at == 0 or ordered[at - 1].identity != event.identity
    ]


def _bodies(events: Sequence[Event], *, is_packed: bool) -> Iterator[tuple[bytes, list[Block]]]:
    body, blocks, lines_bytes = bytearray(), list[Block](), 0
    for run in _runs(events):
        if lines_bytes >= SEGMENT_BYTES_MAX:
            yield bytes(body), blocks
            body, blocks, lines_bytes = bytearray(), [], 0
        lines = b"".join(event.line + b"\n" for event in run)
        lines_bytes += len(lines)
        stored = _packed(lines) if is_packed else lines
        blocks.append(_block(run, offset=len(body), length=len(stored)))
        body += stored
    if blocks:
        yield bytes(body), blocks


def unpacked(stored: bytes) -> tuple[bytes, bool]:
    """Return the lines of packed blocks as far as they can be read, and whether that is all."""
    lines = bytearray()
    while stored:
        inflater = isal_zlib.decompressobj(wbits=GZIP_WINDOW_BITS)
        try:
            lines += inflater.decompress(stored)
        except isal_zlib.error:  # type: ignore[misc]  # its stub declares an instance
            return bytes(lines), False
        if not inflater.eof:
            return bytes(lines), False
        stored = inflater.unused_data
    return bytes(lines), True


def _packed(lines: bytes) -> bytes:
    packed: bytes = isal_zlib.compress(lines, GZIP_LEVEL, GZIP_WINDOW_BITS)
    return packed


def _runs(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    start, size_bytes = 0, 0
    for at, event in enumerate(events):
        size_bytes += len(event.line) + 1
        if size_bytes >= BLOCK_BYTES:
            yield events[start : at + 1]
            start, size_bytes = at + 1, 0
    if start < len(events):
        yield events[start:]


def _block(run: Sequence[Event], *, offset: int, length: int) -> Block:
    tags = set(itertools.chain.from_iterable({event.tags for event in run}))
    return Block(
        first_ns=run[0].time_ns,
        last_ns=run[-1].time_ns,
        offset=offset,
        length=length,
        count=len(run),
        traces=_filter_of([event.trace_id for event in run]),
        tags=tuple(sorted(tags)) if len(tags) <= TAGS_TOLD_MAX else None,
    )


def _filter_of(trace_ids: Sequence[str]) -> bytes:
    """Return the filter of some traces; bits are gathered as bytes first, which is quicker."""
    filter_bytes = max(1, len(trace_ids) * _BITS_PER_EVENT // 8)
    bits = bytearray(b"0") * (filter_bytes * 8)
    bit_count = len(bits)
    for trace_id in trace_ids:
        for probe in trace_probes(trace_id):
            bits[-1 - probe % bit_count] = _ONE
    return int(bits, 2).to_bytes(filter_bytes, "little")
