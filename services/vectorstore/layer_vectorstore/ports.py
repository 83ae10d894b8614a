"""What the store needs from outside: a durable log of changes, and indexes built meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from layer_vectorstore.domain.changes import Change
from layer_vectorstore.domain.schema import Schema
from layer_vectorstore.domain.table import TableView
from layer_vectorstore.domain.vectors import Metric


@dataclass(slots=True, eq=False)
class Stream:
    """One life of a namespace, from its creation until it is deleted."""

    number: int
    name: str
    has_failed: bool = False
    """Set once an append was lost: what was meant to follow it must not be written either."""


class ChangeLog(Protocol):
    """Keeps changes in order. A future that is done without an error means: on disk.

    Futures fail with ``UnavailableError`` (``LOG_FAILED``), and from then on so does every
    append to the same stream.
    """

    def streams(self) -> Sequence[Stream]:
        """Return the streams that exist."""
        ...

    def create(self, name: str) -> Stream:
        """Return a new stream; it exists on disk with its first change."""
        ...

    def append(self, stream: Stream, change: Change) -> Future[None]:
        """Add a change.

        Raises:
            PayloadTooLargeError: ``CHANGE_TOO_LARGE``; then nothing is added.
        """
        ...

    def replay(self, stream: Stream) -> Iterator[Change]:
        """Yield the changes on disk, oldest first."""
        ...

    def rewrite(self, stream: Stream, changes: Sequence[Change]) -> Future[None]:
        """Replace everything appended so far by a shorter history."""
        ...

    def drop(self, stream: Stream) -> Future[None]:
        """Delete the stream with all its changes."""
        ...


class IndexBuilder(Protocol):
    """Gives large columns of vectors an approximate index, in the background."""

    def consider(self, stream: Stream, view: TableView) -> None:
        """Start an index for the rows of ``view``, or feed those it has, where that is due."""
        ...

    def drop(self, stream: Stream) -> None:
        """Give up what is kept of the indexes of a stream that is gone."""
        ...

    def bytes_max(self, schema: Schema, metric: Metric | None, rows_count: int) -> int:
        """Return how much memory the indexes of so many rows take at most."""
        ...
