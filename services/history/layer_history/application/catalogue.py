"""Which objects there are, day by day.

Object stores list keys in ascending order only, and the newest events are wanted first. So a day is
listed as a whole, of which compaction keeps the objects few, and the day before one is searched for
by listings of a single key: in steps that double until some day is found, then by halves. What a
listing costs thus depends on the objects of a day, and never on the length of the history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from layer_history.domain.names import (
    SegmentName,
    Stream,
    day_folder,
    day_of,
    day_of_key,
    parse_key,
)
from layer_kit.bounded_cache import BoundedCache
from layer_kit.clock import Monotonic
from layer_objects import ObjectInfo, ObjectStore

LISTING_TTL_S: Final = 1.0
"""How long events of other replicas may stay unseen after they were stored."""

DAYS_REMEMBERED_MAX: Final = 4_096
KEYS_REMEMBERED_MAX: Final = 200_000


class Listed(NamedTuple):
    """An object that holds events."""

    name: SegmentName
    size_bytes: int


@dataclass(slots=True, kw_only=True)
class Catalogue:
    """Knows the objects of every stream, as of a moment ago."""

    objects: ObjectStore
    clock: Monotonic
    now_ns: Callable[[], int]
    _days: BoundedCache[tuple[Stream, int], tuple[float, list[Listed]]] = field(
        default_factory=lambda: BoundedCache(KEYS_REMEMBERED_MAX)
    )
    _earlier: BoundedCache[tuple[Stream, int | None], tuple[float, int | None]] = field(
        default_factory=lambda: BoundedCache(DAYS_REMEMBERED_MAX)
    )
    _changes: int = 0
    """Counts what makes a listing that is under way out of date."""

    async def on(self, stream: Stream, day: int) -> list[Listed]:
        """Return the objects of a day, in no order that means anything."""
        known = self._days.get((stream, day))
        if known is not None and known[0] > self.clock():
            return known[1]
        changes = self._changes
        folder = day_folder(stream, day)
        listed = _segments(stream, await self._keys(folder))
        if changes == self._changes:
            self._remember(stream, day, listed)
        return listed

    async def last_day(self, stream: Stream) -> int | None:
        """Return the newest day with objects; it may lie in the future of this clock."""
        known = self._earlier.get((stream, None))
        if known is not None and known[0] > self.clock():
            return known[1]
        changes = self._changes
        found = await self._search_last(stream)
        if changes == self._changes:
            expires_s = self.clock() + LISTING_TTL_S
            self._earlier.put((stream, None), (expires_s, found), weight=1)
        return found

    async def day_before(self, stream: Stream, day: int) -> int | None:
        """Return the last day before ``day`` that has objects; None when there is none."""
        known = self._earlier.get((stream, day))
        if known is not None and known[0] > self.clock():
            return known[1]
        changes = self._changes
        found = await self._search_before(stream, day)
        if changes == self._changes:
            expires_s = self.clock() + LISTING_TTL_S
            self._earlier.put((stream, day), (expires_s, found), weight=1)
        return found

    def forget(self, stream: Stream) -> None:
        """Look anew at a stream some of whose objects have come or gone."""
        self._changes += 1
        self._days.discard(lambda key: key[0] == stream)
        self._earlier.discard(lambda key: key[0] == stream)

    async def _search_last(self, stream: Stream) -> int | None:
        today = day_of(self.now_ns())
        changes = self._changes
        after = day_folder(stream, today).rstrip("/")
        page = await self.objects.list(f"{stream.folder}/", after=after)
        days = [day for info in page.objects if (day := day_of_key(stream, info.key)) is not None]
        if not days:
            return await self.day_before(stream, today)
        if page.next_after is not None:  # a busy day: its end is somewhere behind this page
            while (later := await self._first_day_from(stream, days[-1] + 1)) is not None:
                days.append(later)
        elif changes == self._changes:
            in_last = [info for info in page.objects if day_of_key(stream, info.key) == days[-1]]
            self._remember(stream, days[-1], _segments(stream, in_last))
        return days[-1]

    def _remember(self, stream: Stream, day: int, listed: list[Listed]) -> None:
        expires_s = self.clock() + LISTING_TTL_S
        self._days.put((stream, day), (expires_s, listed), weight=1 + len(listed))

    async def _search_before(self, stream: Stream, day: int) -> int | None:
        empty_from, step = day, 1
        while True:
            start = max(0, day - step)
            first = await self._first_day_from(stream, start)
            if first is not None and first < empty_from:
                break
            if start == 0:
                return None
            empty_from, step = start, step * 2
        while first + 1 < empty_from:
            middle = (first + 1 + empty_from) // 2
            later = await self._first_day_from(stream, middle)
            if later is not None and later < empty_from:
                first = later
            else:
                empty_from = middle
        return first

    async def _first_day_from(self, stream: Stream, day: int) -> int | None:
        """Return the first day, from ``day`` on, that has objects."""
        after = day_folder(stream, day).rstrip("/")
        page = await self.objects.list(f"{stream.folder}/", after=after, limit=1)
        return day_of_key(stream, page.objects[0].key) if page.objects else None

    async def _keys(self, folder: str) -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        after: str | None = ""
        while after is not None:
            page = await self.objects.list(folder, after=after)
            found += page.objects
            after = page.next_after
        return found


def _segments(stream: Stream, objects: list[ObjectInfo]) -> list[Listed]:
    return [
        Listed(name, info.size_bytes)
        for info in objects
        if (name := parse_key(stream, info.key)) is not None
    ]
