"""Reading segments: whole, or block by block, through a bounded cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from layer_history.application.catalogue import Listed
from layer_history.domain.blocks import Block, unpacked
from layer_history.domain.events import Event, parse_line
from layer_history.domain.limits import WHOLE_BYTES_MAX
from layer_history.domain.names import SegmentName
from layer_history.ports import Bundle, Disk, StoredSegment
from layer_kit.bounded_cache import BoundedCache
from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_objects import ObjectStore

INDEX_CACHE_BYTES: Final = 64 * 1024 * 1024
EVENT_OVERHEAD_BYTES: Final = 250
"""What a parsed event takes beside its line."""

Damage = Literal["line", "object"]
CountDamage = Callable[[Damage], None]

_blocks: Final = msgspec.msgpack.Decoder(list[Block])
_encoder: Final = msgspec.msgpack.Encoder()


class GoneError(Exception):
    """A segment is no longer where it was listed: it was merged into another, or has expired."""


def encode_index(blocks: list[Block]) -> bytes:
    """Return the object that lies beside a large segment."""
    return _encoder.encode(blocks)


@dataclass(slots=True, kw_only=True)
class Segments:
    """Reads events out of segments, wherever these are. Lines that are malformed are passed by.

    Args:
        cache_bytes: For parsed events, which make the recent past quick to read.
    """

    objects: ObjectStore
    disk: Disk
    count_damage: CountDamage
    cache_bytes: int
    _events: BoundedCache[tuple[str, int], list[Event]] = field(init=False)
    _indexes: BoundedCache[str, list[Block]] = field(init=False)

    def __post_init__(self) -> None:
        self._events = BoundedCache(self.cache_bytes)
        self._indexes = BoundedCache(INDEX_CACHE_BYTES)

    async def index(self, listed: Listed) -> list[Block] | None:
        """Return the blocks of a large segment; None for one that is to be read whole."""
        if listed.size_bytes <= WHOLE_BYTES_MAX:
            return None
        key = listed.name.index_key
        if (known := self._indexes.get(key)) is not None:
            return known
        found = await self.objects.get(key)
        if found is None:
            return None
        try:
            blocks = _blocks.decode(found.body)
        except msgspec.DecodeError:
            self.count_damage("object")
            return None
        self._indexes.put(key, blocks, weight=len(found.body))
        return blocks

    async def whole(self, name: SegmentName) -> list[Event]:
        """Return all events of a segment.

        Raises:
            GoneError: It is not there.
        """
        if (known := self._events.get((name.key, 0))) is not None:
            return known
        found = await self.objects.get(name.key)
        if found is None:
            raise GoneError
        return self._parsed(name, 0, found.body)

    async def intact(self, name: SegmentName) -> list[Event] | None:
        """Return all events of a segment that is to be replaced; None when not all can be read.

        Raises:
            GoneError: It is not there.
        """
        found = await self.objects.get(name.key)
        if found is None:
            raise GoneError
        # Up to 32 MiB of lines, which appends are not to wait for.
        events, _, is_intact = await asyncio.to_thread(self._read, name, found.body)
        return events if is_intact else None

    async def block(self, name: SegmentName, block: Block) -> list[Event]:
        """Return the events of one block.

        Raises:
            GoneError: The segment is not there.
        """
        place = block.offset + 1  # 0 is the whole segment
        if (known := self._events.get((name.key, place))) is not None:
            return known
        try:
            stored = await self.objects.get_range(name.key, block.offset, block.length)
        except NotFoundError as error:
            raise GoneError from error
        except InvalidRequestError:  # shorter than its index says
            self.count_damage("object")
            stored = b""
        return self._parsed(name, place, stored)

    async def local_block(
        self, bundle: Bundle, segment: StoredSegment, block: Block
    ) -> list[Event]:
        """Return the events of one block of a bundle.

        Raises:
            GoneError: The bundle has been shipped meanwhile.
        """
        place = block.offset + 1
        if (known := self._events.get((segment.name.key, place))) is not None:
            return known
        stored = await self.disk.read(bundle, segment.offset + block.offset, block.length)
        if stored is None:
            raise GoneError
        return self._parsed(segment.name, place, stored)

    def _parsed(self, name: SegmentName, place: int, stored: bytes) -> list[Event]:
        events, lines_bytes, _ = self._read(name, stored)
        weight = lines_bytes + EVENT_OVERHEAD_BYTES * len(events)
        self._events.put((name.key, place), events, weight=weight)
        return events

    def _read(self, name: SegmentName, stored: bytes) -> tuple[list[Event], int, bool]:
        """Return events, the size of their lines, and whether nothing had to be passed by."""
        lines, is_intact = unpacked(stored) if name.is_packed else (stored, True)
        if not is_intact:
            self.count_damage("object")
        events = []
        for line in lines.split(b"\n"):
            if not line:
                continue
            found = parse_line(line)
            if found is None:
                self.count_damage("line")
                is_intact = False
            else:
                events.append(found[2])
        return events, len(lines), is_intact
