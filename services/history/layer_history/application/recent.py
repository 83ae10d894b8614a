"""Events that are not in the object store yet: in memory, or in bundles on the local disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from layer_history.domain.events import Event
from layer_history.domain.names import Stream
from layer_history.ports import Bundle, StoredSegment

RUN_EVENTS_MAX: Final = 512
"""Events of a run of several batches: what a list looks at for a page."""


@dataclass(slots=True)
class Run:
    """Events that came one after the other, nearly always in order of time."""

    events: list[Event]
    first_ns: int
    last_ns: int


@dataclass(slots=True)
class Window:
    """Events in memory, in the order in which they came."""

    runs: dict[Stream, list[Run]] = field(default_factory=dict)
    lines_bytes: int = 0
    count: int = 0

    def add(self, stream: Stream, events: Sequence[Event]) -> None:
        """Add at least one event."""
        moments = [event.time_ns for event in events]
        first_ns, last_ns = min(moments), max(moments)
        runs = self.runs.setdefault(stream, [])
        if runs and len(runs[-1].events) + len(events) <= RUN_EVENTS_MAX:
            run = runs[-1]
            run.events.extend(events)
            run.first_ns, run.last_ns = min(run.first_ns, first_ns), max(run.last_ns, last_ns)
        else:
            runs.append(Run(list(events), first_ns, last_ns))
        self.lines_bytes += sum(len(event.line) for event in events) + len(events)
        self.count += len(events)

    def events(self) -> Iterator[tuple[Stream, Iterable[Event]]]:
        for stream, runs in self.runs.items():
            yield stream, itertools.chain.from_iterable(run.events for run in runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPart:
    """What is here of one stream, as of one moment."""

    runs: list[Run]
    segments: list[tuple[Bundle, StoredSegment]]


@dataclass(slots=True)
class Recent:
    """The open window, those that are being sealed, and the bundles, each event in one of them."""

    window: Window = field(default_factory=Window)
    sealing: dict[str, Window] = field(default_factory=dict)
    """By the number of the log file that holds the same events; oldest first."""
    bundles: dict[str, Bundle] = field(default_factory=dict)

    def close_window(self, number: str) -> None:
        """Begin a new window; the one before waits for its sealing."""
        self.sealing[number] = self.window
        self.window = Window()

    def sealed(self, bundle: Bundle) -> None:
        """Let a bundle take the place of its window."""
        self.bundles[bundle.number] = bundle
        self.sealing.pop(bundle.number, None)

    def shipped(self, bundle: Bundle) -> None:
        """Forget a bundle whose segments are in the object store."""
        self.bundles.pop(bundle.number, None)

    def part(self, stream: Stream) -> LocalPart:
        """Return what is here of ``stream``, which does not change any more."""
        closed = (run for one in self.sealing.values() for run in one.runs.get(stream, ()))
        growing = self.window.runs.get(stream, ())
        return LocalPart(
            runs=[*closed, *(Run(run.events[:], run.first_ns, run.last_ns) for run in growing)],
            segments=[
                (bundle, segment)
                for bundle in self.bundles.values()
                for segment in bundle.segments
                if segment.name.stream == stream
            ],
        )

    @property
    def lines_bytes(self) -> int:
        """Return the size of the lines in memory."""
        return self.window.lines_bytes + sum(one.lines_bytes for one in self.sealing.values())
