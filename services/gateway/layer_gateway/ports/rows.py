"""What the use cases need of the row cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol

import msgspec

from layer_kit.names import Namespace
from layer_wire.stamping import CacheRows


class CachedRow(NamedTuple):
    """A row as the cache gives it; made by the hundred, thrice as fast as a data class."""

    body: bytes
    """Attributes as a JSON object, projected to the names asked for."""
    vectors: bytes
    """Vectors as a JSON object; empty when not asked for or absent."""


_ROW: Final[Callable[[tuple[bytes, bytes]], CachedRow]] = partial(tuple.__new__, CachedRow)
"""Makes a row of its fields, without the call in Python that its constructor is."""


class CacheLookup(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Answer of the cache, or of its absence; the rows found are there by column."""

    positions: Sequence[int] = ()
    """Where the rows found are in the ids asked for, ascending."""
    bodies: Sequence[bytes] = ()
    """Of each, as in ``CachedRow``."""
    vectors: Sequence[bytes] = ()
    read_token: bytes = b""
    """Permits a backfill of what was missed; empty when none is wanted."""
    is_available: bool = True
    """False when the cache could not be asked, so that the misses say nothing."""

    @classmethod
    def of(
        cls,
        hits: Mapping[int, CachedRow],
        *,
        read_token: bytes = b"",
        is_available: bool = True,
    ) -> CacheLookup:
        """Return one that has found ``hits``."""
        found = dict(sorted(hits.items()))
        return cls(
            positions=list(found),
            bodies=[row.body for row in found.values()],
            vectors=[row.vectors for row in found.values()],
            read_token=read_token,
            is_available=is_available,
        )

    @property
    def hits(self) -> dict[int, CachedRow]:
        """The rows found, by position; made anew each time."""
        rows = map(_ROW, zip(self.bodies, self.vectors, strict=True))
        return dict(zip(self.positions, rows, strict=True))


class LookupKind(NamedTuple):
    """What a lookup is about, and which part of each row it wants."""

    namespace: Namespace
    names: tuple[str, ...] | None = None
    """Of attributes; None means all of them."""
    with_vectors: bool = False


TellLookup = Callable[[CacheLookup | BaseException], None]
"""Told of the answer or the error of a lookup, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConnection:
    """How the gateway stands with the cache."""

    is_connected: bool = False
    generation: int = 0
    """Grows each time that it was connected, or connected anew."""
    last_error: str = ""
    """Why it was last disconnected; empty if it never was."""


class Fence(Protocol):
    """Rows hidden from every reader while they are written upstream."""

    @property
    def ids(self) -> Sequence[bytes]: ...


class RowCache(Protocol):
    """Near copies of rows, kept coherent with every acknowledged write.

    No method raises because the cache is away. The three that follow a write return only once
    that write may be acknowledged: when the cache is told, or has surely stopped answering from
    what it holds (docs/ARCHITECTURE.md, "Coherence").
    """

    @property
    def is_available(self) -> bool:
        """Tell whether the cache answered last."""
        ...

    @property
    def connection(self) -> CacheConnection:
        """Tell how the gateway stands with the cache."""
        ...

    async def lookup(
        self,
        namespace: Namespace,
        ids: Sequence[bytes],
        *,
        names: Sequence[str] | None = None,
        with_vectors: bool = False,
    ) -> CacheLookup:
        """Look up at most ``LOOKUP_IDS_MAX`` canonical ids; ``names`` None means all attributes."""
        ...

    def begin_lookup(self, kind: LookupKind, ids: Sequence[bytes], tell: TellLookup) -> None:
        """Do the same without a task; ``tell`` may be called at once, or in a later turn."""
        ...

    def join_tokens(self, earlier: bytes, later: bytes) -> bytes:
        """Return one read token for a read that begins after both were handed out."""
        ...

    async def backfill(
        self, namespace: Namespace, read_token: bytes, rows: CacheRows, *, is_patient: bool = False
    ) -> int:
        """Offer rows read upstream after a miss; the cache refuses what may be stale.

        Args:
            is_patient: Whether nobody waits for it, so that many rows may take their time.

        Returns:
            How many rows the cache took.
        """
        ...

    async def fence(self, namespace: Namespace, ids: Sequence[bytes]) -> Fence:
        """Hide rows that are about to be written."""
        ...

    async def settle(
        self,
        fence: Fence,
        *,
        puts: CacheRows,
        patches: CacheRows,
        lifted: Sequence[bytes],
        is_outcome_known: bool = True,
    ) -> None:
        """Tell what a write did; every fenced id not named is dropped.

        Args:
            is_outcome_known: Whether each of those is known to have been written or deleted.
        """
        ...

    async def release(self, fence: Fence) -> None:
        """End the fence of a write that upstream refused: its rows come back."""
        ...

    async def abandon(self, fence: Fence) -> None:
        """End the fence of a write whose fate is unknown: its rows are dropped."""
        ...

    async def drop(
        self, namespace: Namespace, ids: Sequence[bytes], *, is_outcome_known: bool = True
    ) -> None:
        """Drop rows that an upstream write has changed, or may have."""
        ...

    async def invalidate(self, namespace: Namespace) -> None:
        """Drop every row of a namespace."""
        ...


LOOKUP_IDS_MAX = 10_000
"""Ids in one lookup or backfill."""
