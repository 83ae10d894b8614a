"""Reading: what is in memory, in bundles and in the object store, as one list, newest first.

And in the mirror, whose events are those of other replicas that are not in the object store yet.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from layer_history.application.catalogue import Catalogue, Listed
from layer_history.application.recent import Recent, Run
from layer_history.application.segments import GoneError, Segments
from layer_history.domain.blocks import Block, trace_probes
from layer_history.domain.events import TIME_NS_MAX, Event
from layer_history.domain.limits import READS_AT_ONCE_MAX, SCANNED_EVENTS_MAX
from layer_history.domain.names import DAY_NS, Stream, day_of
from layer_history.ports import Mirror

ATTEMPTS_MAX: Final = 4
"""How often a list begins anew because a segment went away between its listing and its reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events are wanted."""

    stream: Stream
    limit: int
    newest_ns: int = TIME_NS_MAX
    """The last moment that is wanted."""
    oldest_ns: int = 1
    """The first moment that is wanted."""
    tags: tuple[str, ...] = ()
    """All of which an event must have."""
    trace_id: str = ""

    def admits(self, event: Event) -> bool:
        return (
            self.oldest_ns <= event.time_ns <= self.newest_ns
            and (not self.trace_id or event.trace_id == self.trace_id)
            and all(tag in event.tags for tag in self.tags)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Events, newest first, each once.

    Attributes:
        before_ns: Where to go on: further events are all earlier than this. None at the end.
    """

    events: list[Event]
    before_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Finds events wherever they are."""

    recent: Recent
    mirror: Mirror
    catalogue: Catalogue
    segments: Segments

    async def find(self, selection: Selection) -> Page:
        """Return the newest events of a selection.

        A page holds ``limit`` events, and more only where several share its last nanosecond, so
        that no page begins in the middle of one. It ends early after ``SCANNED_EVENTS_MAX``.

        Raises:
            UpstreamError: The object store's own.
        """
        for _ in range(ATTEMPTS_MAX - 1):
            try:
                return await self._walk(selection, skips_gone=False).run()
            except GoneError:
                self.catalogue.forget(selection.stream)
        return await self._walk(selection, skips_gone=True).run()

    def _walk(self, selection: Selection, *, skips_gone: bool) -> _Walk:
        return _Walk(
            selection=selection,
            catalogue=self.catalogue,
            segments=self.segments,
            recent=self.recent,
            mirror=self.mirror,
            skips_gone=skips_gone,
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    events: Sequence[Event] = ()
    places: Sequence[_Place] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Somewhere that holds events up to ``last_ns``: a block, a segment, a day, or all before."""

    last_ns: int
    first_ns: int
    open: Callable[[], Awaitable[_Opened]]
    is_listing: bool = False

    def __lt__(self, other: _Place) -> bool:
        return self.last_ns > other.last_ns


@dataclass(slots=True, kw_only=True)
class _Walk:
    """One pass from the newest place to the oldest, opening a place only once it is next.

    An event is certain to be next when it is later than everything in the places still closed.
    """

    selection: Selection
    catalogue: Catalogue
    segments: Segments
    recent: Recent
    mirror: Mirror
    skips_gone: bool
    _places: list[_Place] = field(default_factory=list)
    _events: list[tuple[int, str, int, Event]] = field(default_factory=list)
    """Negated moment, identity, and ``id``, so that events themselves are never compared."""
    _found: list[Event] = field(default_factory=list)
    _scanned_count: int = 0
    _read_count: int = 0
    """Places that were opened and held events."""

    async def run(self) -> Page:
        self._begin()
        width = 1
        while not self._is_full:
            self._settle()
            if self._is_full or not self._places:
                break
            closed_ns = self._places[0].last_ns
            # Only once a later page would get on: places may all reach beyond what is wanted.
            if self._scanned_count > SCANNED_EVENTS_MAX and closed_ns < self.selection.newest_ns:
                return Page(events=self._found, before_ns=closed_ns + 1)
            read_count = self._read_count
            for opened in await asyncio.gather(*map(self._open, self._next_places(width))):
                self._add_events(opened.events)
                self._add_places(opened.places)
            if self._read_count > read_count:  # one place did not do, so several may be needed
                width = min(width * 2, READS_AT_ONCE_MAX)
        return self._page()

    def _begin(self) -> None:
        """Look at what is local first: what is shipped meanwhile is then in the listing."""
        part = self.recent.part(self.selection.stream)
        self._add_places(map(self._run_place, part.runs))
        for bundle, segment in part.segments:
            self._add_places(
                self._block_place(block, partial(self.segments.local_block, bundle, segment, block))
                for block in self._promising(segment.blocks)
            )
        newest_ns = self.selection.newest_ns
        is_open = newest_ns >= self.catalogue.now_ns()
        days = self._days(None if is_open else day_of(newest_ns) + 1)
        self._add_places([_Place(newest_ns, 0, self._open_mirror), days])

    def _run_place(self, run: Run) -> _Place:
        async def open_run() -> _Opened:
            return _Opened(events=run.events)

        return _Place(run.last_ns, run.first_ns, open_run)

    async def _open_mirror(self) -> _Opened:
        wanted = self.selection
        return _Opened(await self.mirror.recent(wanted.stream, newest_ns=wanted.newest_ns))

    def _days(self, before: int | None) -> _Place:
        """Return the place of everything before a day; None = of everything."""
        last_ns = TIME_NS_MAX if before is None else before * DAY_NS - 1

        async def open_days() -> _Opened:
            stream = self.selection.stream
            day = await (
                self.catalogue.last_day(stream)
                if before is None
                else self.catalogue.day_before(stream, before)
            )
            if day is None:
                return _Opened()
            listed = await self.catalogue.on(stream, day)
            return _Opened(places=[self._days(day), *map(self._segment, listed)])

        return _Place(last_ns, 0, open_days, is_listing=True)

    def _segment(self, listed: Listed) -> _Place:
        async def open_segment() -> _Opened:
            blocks = await self.segments.index(listed)
            if blocks is None:
                return _Opened(events=await self.segments.whole(listed.name))
            return _Opened(
                places=[
                    self._block_place(block, partial(self.segments.block, listed.name, block))
                    for block in self._promising(blocks)
                ]
            )

        return _Place(listed.name.last_ns, listed.name.first_ns, open_segment)

    def _block_place(self, block: Block, read: Callable[[], Awaitable[list[Event]]]) -> _Place:
        async def open_block() -> _Opened:
            return _Opened(events=await read())

        return _Place(block.last_ns, block.first_ns, open_block)

    def _promising(self, blocks: Iterable[Block]) -> list[Block]:
        probes = trace_probes(self.selection.trace_id)
        tags = self.selection.tags
        return [block for block in blocks if block.may_hold(tags, probes)]

    def _add_events(self, events: Sequence[Event]) -> None:
        for event in events:
            if self.selection.admits(event):
                time_ns, key = event.identity
                heapq.heappush(self._events, (-time_ns, key, id(event), event))

    def _add_places(self, places: Iterable[_Place]) -> None:
        for place in places:
            is_in_range = (
                place.last_ns >= self.selection.oldest_ns
                and place.first_ns <= self.selection.newest_ns
            )
            if is_in_range:
                heapq.heappush(self._places, place)

    def _next_places(self, width: int) -> list[_Place]:
        """Take the next place, with those after it that will probably be wanted as well."""
        taken = [heapq.heappop(self._places)]
        while len(taken) < width and self._places and not self._places[0].is_listing:
            taken.append(heapq.heappop(self._places))
        return taken

    async def _open(self, place: _Place) -> _Opened:
        try:
            opened = await place.open()
        except GoneError:
            if self.skips_gone:
                return _Opened()
            raise
        self._read_count += bool(opened.events)
        self._scanned_count += len(opened.events)
        return opened

    def _settle(self) -> None:
        """Move the events that are certain to be next to the page."""
        closed_ns = self._places[0].last_ns if self._places else -1
        while self._events and -self._events[0][0] > closed_ns and not self._is_full:
            event = heapq.heappop(self._events)[3]
            if not self._found or self._found[-1].identity != event.identity:
                self._found.append(event)

    @property
    def _is_full(self) -> bool:
        """Tell whether the page, and the first event after it, are known."""
        found, limit = self._found, self.selection.limit
        return len(found) > limit and found[-1].time_ns != found[limit - 1].time_ns

    def _page(self) -> Page:
        found = self._found
        if self._is_full:
            return Page(events=found[:-1], before_ns=found[-2].time_ns)
        return Page(events=found, before_ns=None)
