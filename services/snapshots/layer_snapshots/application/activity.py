"""Pages of snapshots, of one namespace and of all."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from layer_kit.names import Namespace
from layer_snapshots.application.catalogue import LAST, Catalogue
from layer_snapshots.domain.keys import WATERMARK_MS_MAX, SnapshotName
from layer_snapshots.domain.limits import ACTIVITY_NAMESPACES_MAX, READS_AT_ONCE_MAX


class Event(NamedTuple):
    """A snapshot of some namespace."""

    namespace: Namespace
    name: SnapshotName


class Position(NamedTuple):
    """Where a page of the activity ended; the next begins after it.

    Events are newest first; those of the same moment are by namespace, then by SHA-256.
    """

    watermark_ms: int
    namespace: Namespace
    short_sha: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityPage:
    """A page of the activity.

    Attributes:
        next_position: None on the last page.
    """

    events: Sequence[Event]
    next_position: Position | None
    is_truncated: bool
    """Whether there were too many namespaces to look at all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What was taken of late, everywhere."""

    catalogue: Catalogue

    async def page(
        self,
        count: int,
        *,
        namespace: Namespace | None,
        since_ms: int,
        after: Position | None,
    ) -> ActivityPage:
        """Return up to ``count`` events after a position.

        Raises:
            UpstreamError: The object store's own.
        """
        namespaces, is_truncated = await self._namespaces(namespace)
        found: list[Event] = []
        for start in range(0, len(namespaces), READS_AT_ONCE_MAX):
            some = namespaces[start : start + READS_AT_ONCE_MAX]
            listed = await asyncio.gather(
                *(self._newest(one, count + 1, since_ms, after) for one in some)
            )
            found = heapq.nsmallest(count + 1, [*found, *(e for es in listed for e in es)], _place)
        events = found[:count]
        is_last = len(found) <= count
        return ActivityPage(
            events=events,
            next_position=None if is_last else _position(events[-1]),
            is_truncated=is_truncated,
        )

    async def _namespaces(self, only: Namespace | None) -> tuple[list[Namespace], bool]:
        if only is not None:
            return [only], False
        found: list[Namespace] = []
        async for namespace in self.catalogue.namespaces():
            if len(found) == ACTIVITY_NAMESPACES_MAX:
                return found, True
            found.append(namespace)
        return found, False

    async def _newest(
        self, namespace: Namespace, count: int, since_ms: int, after: Position | None
    ) -> list[Event]:
        before = LAST
        if after is not None:
            # Of the same moment, a namespace that comes later may have all of its own, an earlier
            # one none, and the same one those of a greater SHA-256.
            before = SnapshotName(min(after.watermark_ms + 1, WATERMARK_MS_MAX), "")
        events: list[Event] = []
        async for name in self.catalogue.descending(namespace, before=before, since_ms=since_ms):
            if (
                events
                and name.watermark_ms != events[-1].name.watermark_ms
                and len(events) >= count
            ):
                break
            event = Event(namespace, name)
            if after is None or _place(event) > _place_of(after):
                events.append(event)
        return events


def _place(event: Event) -> tuple[int, str, str]:
    return -event.name.watermark_ms, event.namespace, event.name.short_sha


def _place_of(position: Position) -> tuple[int, str, str]:
    return -position.watermark_ms, position.namespace, position.short_sha


def _position(event: Event) -> Position:
    return Position(event.name.watermark_ms, event.namespace, event.name.short_sha)
