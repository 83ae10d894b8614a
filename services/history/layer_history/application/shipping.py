"""Shipping: bundles go from the local disk to the object store.

Everything here may happen twice. The key of a segment follows from the log file whose events it
holds, so a put that finds its object there has nothing left to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from layer_history.application.catalogue import Catalogue
from layer_history.application.policies import Policies
from layer_history.application.recent import Recent
from layer_history.application.segments import encode_index
from layer_history.domain.blocks import Block
from layer_history.domain.limits import WHOLE_BYTES_MAX
from layer_history.domain.names import SegmentName, Stream
from layer_history.ports import Bundle, Disk, StoredSegment
from layer_kit.errors import PreconditionError
from layer_objects import ObjectStore

PUTS_AT_ONCE_MAX: Final = 8
LINES_TYPE: Final = "application/x-ndjson"
PACKED_TYPE: Final = "application/gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipping:
    """Ships one bundle after the other, oldest first."""

    disk: Disk
    recent: Recent
    objects: ObjectStore
    catalogue: Catalogue
    policies: Policies

    async def ship_all(self) -> set[tuple[Stream, int]]:
        """Ship what waits; return the streams and days that have got objects.

        Raises:
            UpstreamError: The object store's own; what is not shipped waits on.
            UnavailableError: ``LOG_FAILED``.
        """
        places: set[tuple[Stream, int]] = set()
        for bundle in list(self.recent.bundles.values()):
            turns = asyncio.Semaphore(PUTS_AT_ONCE_MAX)
            async with asyncio.TaskGroup() as group:
                for segment in bundle.segments:
                    group.create_task(self._ship(bundle, segment, turns))
            for segment in bundle.segments:
                places.add((segment.name.stream, segment.name.day))
                self.catalogue.forget(segment.name.stream)
            # From here on the objects are listed; only now may the bundle go.
            self.recent.shipped(bundle)
            await self.disk.remove(bundle)
        return places

    async def _ship(self, bundle: Bundle, segment: StoredSegment, turns: asyncio.Semaphore) -> None:
        name = segment.name
        async with turns:
            if name.last_ns <= self.policies.get(name.stream.namespace).purged_before_ns:
                return
            body = await self.disk.read(bundle, segment.offset, segment.length)
            if body is not None:
                await put_segment(self.objects, name, body, segment.blocks)


async def put_segment(
    objects: ObjectStore, name: SegmentName, body: bytes, blocks: list[Block]
) -> None:
    """Write a segment, and its index before it; what is there already stays.

    Raises:
        UpstreamError: The object store's own.
    """
    with contextlib.suppress(PreconditionError):
        if len(body) > WHOLE_BYTES_MAX:
            await objects.put(name.index_key, encode_index(blocks))
        content_type = PACKED_TYPE if name.is_packed else LINES_TYPE
        await objects.put(name.key, body, content_type=content_type, if_absent=True)
