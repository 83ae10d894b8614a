"""Compaction: many small segments of a day become few large ones.

Segments are merged once eight of about the same size have gathered, so that each event is rewritten
a few times at most. The merged segment is there before those that it replaces go, and readers pass
by copies: at no moment is an event missing. Two replicas that merge the same segments waste their
work and lose nothing; each leaves alone what the other one wrote today.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from layer_history.application.catalogue import Catalogue, Listed
from layer_history.application.segments import GoneError, Segments
from layer_history.application.shipping import put_segment
from layer_history.domain.blocks import Segment, build_segments
from layer_history.domain.events import Event
from layer_history.domain.limits import SEGMENT_BYTES_MAX
from layer_history.domain.names import SegmentName, Stream, day_of
from layer_objects import ObjectStore

MERGE_COUNT: Final = 8
LEAST_COUNT: Final = 2
TIER_FACTOR: Final = 8
TIER_BYTES: Final = 64 * 1024
"""Up to here segments count as equally small."""

PACKED_RATIO: Final = 8
"""How much larger lines are than what they are packed to, for an estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """Merges the segments of a day."""

    objects: ObjectStore
    catalogue: Catalogue
    segments: Segments
    replica: str
    now_ns: Callable[[], int]

    async def compact(self, stream: Stream, day: int) -> int:
        """Merge what is to be merged; return how many segments went.

        Raises:
            UpstreamError: The object store's own.
        """
        is_over = day < day_of(self.now_ns()) - 1
        listed = [
            one for one in await self.catalogue.on(stream, day) if self._is_ours(one, is_over)
        ]
        merged_count = 0
        for batch in _batches(listed, is_over=is_over):
            try:
                merged_count += await self._merge(stream, batch)
            except GoneError:  # another replica was quicker
                self.catalogue.forget(stream)
        return merged_count

    def _is_ours(self, listed: Listed, is_over: bool) -> bool:  # noqa: FBT001 -- of the day
        name = listed.name
        return bool(name.origin) and (is_over or name.origin.startswith(self.replica))

    async def _merge(self, stream: Stream, batch: Sequence[Listed]) -> int:
        events: list[Event] = []
        read: list[SegmentName] = []
        for listed in batch:
            found = await self.segments.intact(listed.name)
            if found is not None:  # what is damaged stays as it is, for whoever can mend it
                events += found
                read.append(listed.name)
        if len(read) < LEAST_COUNT:
            return 0
        merged = await asyncio.to_thread(self._build, stream, events)
        for segment in merged:
            await put_segment(self.objects, segment.name, segment.body, segment.blocks)
        written = {segment.name.key for segment in merged}
        replaced = [name for name in read if name.key not in written]
        self.catalogue.forget(stream)
        for name in replaced:
            await self.objects.delete(name.key)
            await self.objects.delete(name.index_key)
        self.catalogue.forget(stream)
        return len(replaced)

    def _build(self, stream: Stream, events: Iterable[Event]) -> list[Segment]:
        origin = f"{self.replica}{self.now_ns():016x}m"
        return list(build_segments(stream, events, origin=origin, is_packed=True))


def _batches(listed: Sequence[Listed], *, is_over: bool) -> list[list[Listed]]:
    """Return what to merge: of each size, or of a day that is over everything that is not full."""
    tiers: dict[int, list[Listed]] = {}
    for one in sorted(listed, key=lambda one: one.name.first_ns):
        if (lines_bytes := _lines_bytes(one)) < SEGMENT_BYTES_MAX // 2:
            tier = 0 if is_over else _tier(lines_bytes)
            tiers.setdefault(tier, []).append(one)
    least_count = LEAST_COUNT if is_over else MERGE_COUNT
    return [
        batch
        for group in tiers.values()
        for batch in _within_bounds(group)
        if len(batch) >= least_count
    ]


def _within_bounds(group: Sequence[Listed]) -> list[list[Listed]]:
    """Cut a group into runs that together make at most one full segment."""
    batches: list[list[Listed]] = [[]]
    lines_bytes = 0
    for one in group:
        lines_bytes += _lines_bytes(one)
        if lines_bytes > SEGMENT_BYTES_MAX and batches[-1]:
            batches.append([])
            lines_bytes = _lines_bytes(one)
        batches[-1].append(one)
    return batches


def _tier(lines_bytes: int) -> int:
    tier = 0
    while lines_bytes > TIER_BYTES:
        lines_bytes //= TIER_FACTOR
        tier += 1
    return tier


def _lines_bytes(listed: Listed) -> int:
    return listed.size_bytes * (PACKED_RATIO if listed.name.is_packed else 1)
