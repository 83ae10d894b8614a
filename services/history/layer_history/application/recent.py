"""Events that are not in the object store yet: in memory, or in bundles on the local disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from layer_history.domain.events import Event
from layer_history.domain.names import Stream
from layer_history.ports import Bundle, StoredSegment


@dataclass(slots=True)
class Window:
    """Events in memory, in the order in which they came."""

    events: dict[Stream, list[Event]] = field(default_factory=dict)
    lines_bytes: int = 0
    count: int = 0

    def add(self, stream: Stream, events: Sequence[Event]) -> None:
        self.events.setdefault(stream, []).extend(events)
        self.lines_bytes += sum(len(event.line) for event in events) + len(events)
        self.count += len(events)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPart:
    """What is here of one stream, as of one moment."""

    windows: list[Sequence[Event]]
    """Oldest window first; within one, in the order in which events came."""
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
        """Return what is here of ``stream``; windows go on growing, so look at them at once."""
        windows = [*self.sealing.values(), self.window]
        return LocalPart(
            windows=[found for one in windows if (found := one.events.get(stream))],
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

    @property
    def streams(self) -> set[Stream]:
        """Return every stream that something is here of."""
        found = set(self.window.events)
        for window in self.sealing.values():
            found.update(window.events)
        for bundle in self.bundles.values():
            found.update(segment.name.stream for segment in bundle.segments)
        return found
