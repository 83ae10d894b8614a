"""What the use cases need of other services. Objects lie behind ``layer_objects``' own port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from layer_kit.names import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFigures:
    """What is known of a namespace before its rows are read."""

    row_count: int | None
    """An estimate."""
    watermark_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValuePage:
    """The values in some rows."""

    row_count: int
    columns: Sequence[tuple[bytes, str]]
    """For each field asked for, the JSON array of its values and its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedCounts:
    """The values of a field in the rows that the cache holds."""

    row_count: int
    counts: Mapping[str, int]
    distinct_count: int
    is_truncated: bool
    """Whether there were more distinct values than a histogram may hold."""
    warmed_through_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which values of which rows are wanted."""

    namespace: Namespace
    fields: Sequence[str]
    as_of_ms: int
    """Rows written later are left out. It is when the counting began and not the watermark, which
    lies behind the last write for a moment and would hide every row written anew since then."""
    filter: bytes = b""
    """A message of the API; empty for all rows."""
    page_size: int
    authorization: str
    """What the rows are read with where this service has no key of its own; empty for nothing."""


class Rows(Protocol):
    """The rows of a namespace, read through the gateway.

    All methods raise ``UnavailableError``, ``UpstreamError``, ``DeadlineError`` or
    ``QuotaExceededError`` once patience has run out, ``NotFoundError`` when there is no such
    namespace, and what the gateway says of a filter that it refuses.
    """

    @property
    def has_key(self) -> bool:
        """Tell whether rows can be read on nobody's behalf."""
        ...

    async def figures(self, namespace: Namespace, authorization: str) -> NamespaceFigures:
        """Return what is known of a namespace."""
        ...

    async def cached(self, wanted: Wanted) -> CachedCounts | None:
        """Count the one field over the rows in the cache; None unless it holds them all."""
        ...

    def values(self, wanted: Wanted) -> AsyncIterator[ValuePage]:
        """Yield pages, each row once; goes on where it was when the way is broken."""
        ...


class Mirror(Protocol):
    """Near copies of the latest snapshots. No method raises because the cache is away."""

    async def get(self, namespace: Namespace) -> bytes | None:
        """Return the text of the latest snapshot; None where there is none, or no cache."""
        ...

    async def put(self, namespace: Namespace, body: bytes) -> None:
        """Keep the text of the latest snapshot."""
        ...

    async def drop(self, namespace: Namespace) -> None:
        """Forget a namespace."""
        ...
