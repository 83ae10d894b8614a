"""What the use cases need of the local disk and of the cache.

Objects lie behind ``layer_objects``' own port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from layer_history.domain.blocks import Block, Segment
from layer_history.domain.events import Event
from layer_history.domain.names import SegmentName, Stream
from layer_kit.names import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSegment:
    """A segment within a bundle."""

    name: SegmentName
    blocks: list[Block]
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Segments that wait on the local disk for the object store."""

    number: str
    """That of the log file whose events it holds."""
    size_bytes: int
    segments: list[StoredSegment]


class Mirror(Protocol):
    """Where replicas show each other what is not in the object store yet. Never fails."""

    def tell(self, stream: Stream, events: Sequence[Event]) -> None:
        """Show events that are durable, some time soon; they may be left out."""
        ...

    async def recent(self, stream: Stream, *, newest_ns: int) -> list[Event]:
        """Return what other replicas show, where a page up to ``newest_ns`` may want it."""
        ...

    async def drop(self, namespace: Namespace) -> None:
        """Show nothing of a namespace any more."""
        ...


class Disk(Protocol):
    """The local disk: a log that is appended to, and bundles made out of its finished files.

    Methods raise ``UnavailableError`` (``LOG_FAILED``) when the disk fails.
    """

    @property
    def used_bytes(self) -> int:
        """Return the size of all log files and bundles."""
        ...

    async def append(self, records: Sequence[bytes]) -> None:
        """Write records to the current log file; they survive a crash once this returns.

        After a failure what was written last may or may not survive.
        """
        ...

    async def rotate(self) -> str:
        """Begin a new log file; return the number of the one before."""
        ...

    async def seal(self, number: str, segments: Sequence[Segment]) -> Bundle:
        """Write the events of the finished log files up to ``number`` as a bundle; remove them."""
        ...

    async def read(self, bundle: Bundle, offset: int, length: int) -> bytes | None:
        """Read a part of a bundle; None when the bundle is gone."""
        ...

    async def remove(self, bundle: Bundle) -> None:
        """Remove a bundle all of whose segments are in the object store."""
        ...
