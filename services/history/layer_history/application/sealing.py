"""Sealing: windows in memory become bundles of segments on the local disk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from layer_history.application.recent import Recent, Window
from layer_history.domain.blocks import Segment, build_segments
from layer_history.domain.events import Event, parse_line
from layer_history.domain.names import Stream
from layer_history.ports import Disk


@dataclass(slots=True, kw_only=True)
class Sealing:
    """Seals one window after the other.

    Args:
        replica: Tells the segments of this service from those of its replicas.
    """

    disk: Disk
    recent: Recent
    replica: str
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def seal_all(self) -> None:
        """Seal every window that is closed.

        Raises:
            UnavailableError: ``LOG_FAILED``; what is not sealed stays in memory and in the log.
        """
        async with self._turn:
            for number, window in list(self.recent.sealing.items()):
                segments = await asyncio.to_thread(self._build, number, window)
                self.recent.sealed(await self.disk.seal(number, segments))

    def rebuild(self, number: str, records: Iterable[bytes]) -> list[Segment]:
        """Return the segments of a log file; the same file gives the same segments again."""
        window = Window()
        for stream, event in _events_of(records):
            window.add(stream, (event,))
        return self._build(number, window)

    def _build(self, number: str, window: Window) -> list[Segment]:
        origin = f"{self.replica}{number}"
        return [
            segment
            for stream, events in window.events()
            for segment in build_segments(stream, events, origin=origin)
        ]


def _events_of(records: Iterable[bytes]) -> Iterator[tuple[Stream, Event]]:
    for record in records:
        for line in record.split(b"\n"):
            if (found := parse_line(line)) is not None:
                kind, namespace, event = found
                yield Stream(kind, namespace), event
