"""Bundle files: the segments of one log file, ready for the object store, and where each is.

    file = segments · index (MessagePack) · length of the index (4 bytes) · its CRC-32 (4 bytes)

One file instead of one a segment: a second of many namespaces costs one sync, not hundreds.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from layer_history.domain.blocks import Block, Segment
from layer_history.domain.events import Kind
from layer_history.domain.names import SegmentName, Stream
from layer_history.ports import Bundle, StoredSegment
from layer_kit.directories import write_whole
from layer_kit.names import Namespace

SUFFIX: Final = ".bundle"
_TRAILER: Final = struct.Struct("<II")


class DamagedError(Exception):
    """A bundle whose index cannot be read."""


class _Entry(msgspec.Struct, array_like=True):
    kind: Kind
    namespace: str
    first_ns: int
    last_ns: int
    origin: str
    suffix: str
    offset: int
    length: int
    checksum: int
    blocks: list[Block]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[_Entry])


def write_bundle(path: Path, segments: Sequence[Segment]) -> Bundle:
    """Write a bundle that survives a crash once this returns."""
    entries, offset = [], 0
    for segment in segments:
        entries.append(_entry(segment, offset))
        offset += len(segment.body)
    index = _encoder.encode(entries)
    trailer = _TRAILER.pack(len(index), zlib.crc32(index))
    body = b"".join([*(segment.body for segment in segments), index, trailer])
    write_whole(path, body)
    return _bundle(path, entries, len(body))


def read_bundle(path: Path) -> tuple[Bundle, int]:
    """Read the index of a bundle; return it with the number of segments that are damaged.

    Raises:
        DamagedError: Nothing in it can be found.
    """
    data = path.read_bytes()
    if len(data) < _TRAILER.size:
        raise DamagedError
    length, checksum = _TRAILER.unpack_from(data, len(data) - _TRAILER.size)
    start = len(data) - _TRAILER.size - length
    if start < 0:
        raise DamagedError
    index = data[start : start + length]
    if zlib.crc32(index) != checksum:
        raise DamagedError
    try:
        entries = _decoder.decode(index)
    except msgspec.DecodeError as error:
        raise DamagedError from error
    whole = [
        entry
        for entry in entries
        if zlib.crc32(data[entry.offset : entry.offset + entry.length]) == entry.checksum
    ]
    return _bundle(path, whole, len(data)), len(entries) - len(whole)


def _entry(segment: Segment, offset: int) -> _Entry:
    name = segment.name
    return _Entry(
        kind=name.stream.kind,
        namespace=name.stream.namespace,
        first_ns=name.first_ns,
        last_ns=name.last_ns,
        origin=name.origin,
        suffix=name.suffix,
        offset=offset,
        length=len(segment.body),
        checksum=zlib.crc32(segment.body),
        blocks=segment.blocks,
    )


def _bundle(path: Path, entries: Sequence[_Entry], size_bytes: int) -> Bundle:
    return Bundle(
        number=path.name.removesuffix(SUFFIX),
        size_bytes=size_bytes,
        segments=[
            StoredSegment(
                name=SegmentName(
                    stream=Stream(entry.kind, Namespace(entry.namespace)),
                    first_ns=entry.first_ns,
                    last_ns=entry.last_ns,
                    origin=entry.origin,
                    suffix=entry.suffix,
                ),
                blocks=entry.blocks,
                offset=entry.offset,
                length=entry.length,
            )
            for entry in entries
        ],
    )
