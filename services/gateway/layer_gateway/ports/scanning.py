"""What scans need: snapshots, the rows that the cache holds, room for what is to be sorted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from layer_kit.names import Namespace
from layer_wire.filters import Filter


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetSnapshot:
    """The histogram of one field as of a watermark."""

    sha: str
    """Of the snapshot that it is a part of."""
    watermark_ms: int
    counts: Mapping[str, int] | None
    """Rows by value; None where the snapshot does not have the field."""


class LatestSnapshots(Protocol):
    """The newest snapshot of each namespace that has all its facet fields."""

    async def latest(self, namespace: Namespace, field: str) -> FacetSnapshot | None:
        """Return one field of it; None where there is no snapshot.

        Raises:
            UpstreamError: ``SNAPSHOTS_FAILED`` when they, or their object store, are away.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedSelection:
    """Which cached rows are wanted."""

    filter: Filter | None
    types: Mapping[str, str]
    """Of the attributes that rows may be filtered by, ``id`` among them."""
    upserted_until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedPage:
    """Some rows, ascending by the bytes of their ids among those of the same replica."""

    replica: int
    ids: Sequence[bytes]
    """In canonical form."""
    bodies: Sequence[bytes]


class CachedScans(Protocol):
    """Reads what the cache holds of a namespace.

    Both methods raise ``UnavailableError`` or ``DeadlineError`` while the cache is away or keeps
    its rows to itself, and ``UnsupportedError`` (``FILTER_UNSUPPORTED``).
    """

    async def count(self, namespace: Namespace, selection: CachedSelection) -> int:
        """Count rows."""
        ...

    def pages(
        self, namespace: Namespace, selection: CachedSelection, *, name: str, page_size: int
    ) -> AsyncIterator[CachedPage]:
        """Yield rows with one attribute, or with none where ``name`` is empty."""
        ...


class Spool(Protocol):
    """Room outside of memory for what one scan has read; gone when it is closed."""

    def append(self, text: bytes) -> int:
        """Add bytes; return where they begin.

        Raises:
            UnavailableError: ``SPOOL_FULL``.
        """
        ...

    def read(self, start: int, length: int) -> bytes:
        """Return bytes that were added."""
        ...

    def clear(self) -> None:
        """Forget all of them."""
        ...

    def close(self) -> None:
        """Give the room back."""
        ...
