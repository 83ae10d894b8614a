"""What the cache needs from outside: a place for rows and a place for what must not be evicted.

A store may be near, where a row costs microseconds and a call never suspends, or far. So that
"check the order, then store" is one step over either, calls take effect in the order in which they
were made: a call begins when it is made, without waiting for its turn, and from then on a later
``get`` or ``delete`` of the same key sees what an earlier ``put`` did, even one that is on its way
or whose outcome nobody will ever know. Whoever has many rows passes them in chunks and yields to
the event loop in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from layer_cache.domain.rows import Entry, Hits, NewRows, RowKey, Rows
from layer_kit.names import Namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFigures:
    """How full a store is."""

    backend: str
    entry_count: int
    """An estimate; dead entries included."""

    disk_bytes: int
    disk_bytes_max: int
    is_read_only: bool
    last_error: str
    """Why it refuses writes; empty while it does not."""

    refused_count: int
    """Entries that were not stored since the start, for lack of space or because it was busy."""

    oversize_count: int = 0
    """Those of them that were too big for the store."""

    is_connected: bool = True
    """Whether a store that is far can be reached."""

    generation: int = 0
    """How often it was reached anew, the first time included; 0 for a store that is near."""


class Place(NamedTuple):
    """Where one step of a scan ended, and the next one begins: behind a key."""

    key: RowKey
    held: object = None
    """What the store keeps open for the next step, if it does."""


class Page(NamedTuple):
    """One step of a scan."""

    rows: Rows
    """Of live entries; possibly none."""

    after: Place | None
    """None at the end."""


class RowStore(Protocol):
    """Entries by key, within a bound of bytes, each for a limited time.

    A put that cannot be kept is refused softly and leaves what was there, so whoever must not leave
    it deletes first. A delete is a promise: once it returned, the
    entry is not seen again, not even after a restart, unless it is put anew.
    """

    def rows_at_once(self) -> int:
        """Tell how many entries may be got or taken at once without exceeding ``READ_BYTES_MAX``.

        Fewer from when there are big ones; never more than ``CHUNK_ROWS``.
        """

    async def get(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        """Return the entries in the order of ``keys``; None for those absent or over age."""

    async def find(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits:
        """Return the entries that :meth:`get` does, without those stored before ``era_min``."""

    def find_now(self, keys: Sequence[RowKey], *, era_min: int, with_vectors: bool) -> Hits | None:
        """Do the same without a wait; None where there is one, or something is not as usual."""

    async def put(self, entries: Sequence[tuple[RowKey, Entry]]) -> int:
        """Store entries in order, the last one winning; return how many were kept."""

    async def put_new(self, rows: NewRows, *, era: int, written_ms: int) -> int:
        """Store rows as :meth:`put` does."""

    async def take(self, keys: Sequence[RowKey]) -> list[Entry | None]:
        """Remove entries and return what they were, as ``get`` does.

        Raises:
            UnavailableError: ``STORE_DOWN``, when it cannot be promised.
        """

    async def delete(self, keys: Sequence[RowKey]) -> None:
        """Remove entries.

        Raises:
            UnavailableError: ``STORE_DOWN``, when it cannot be promised.
        """

    async def scan(
        self, namespace: Namespace, *, after: Place | None, count_max: int, era_min: int = 0
    ) -> Page:
        """Pass up to ``count_max`` entries in order of key, beginning behind ``after``.

        Entries over age, and those stored before the era ``era_min``, are left out.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """

    def mark(self) -> int:
        """Return a mark in the order of puts, for :meth:`lost_through`."""

    def lost_through(self) -> int:
        """Tell how far entries were lost before their time: to the bound, or to a failure.

        What was put after a mark was taken is all there, but for what was deleted, while this is
        not above the mark. Marks of an earlier opening mean nothing.
        """

    def figures(self) -> StoreFigures:
        """Measure the store."""

    async def recover(self) -> None:
        """Try to accept writes again after a failure; does nothing otherwise."""

    async def close(self) -> None:
        """Keep what was stored and let go of it."""


class WarmRecord(NamedTuple):
    """That a namespace was brought in as a whole."""

    warmed_through_ms: int
    expires_ms: int
    """Wall-clock milliseconds at which the first of its entries may be over age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What a start needs to know of the runs before it."""

    floor: int = 0
    epochs: dict[Namespace, int] = field(default_factory=dict)
    member_ids: frozenset[str] = frozenset()
    warm: dict[Namespace, WarmRecord] = field(default_factory=dict)
    """Empty after a crash: what was lost then is not known."""


class LedgerStore(Protocol):
    """Keeps the ledger. Each change is safe from a crash of the process when its call returns.

    Every method but ``load`` raises UnavailableError ``STORE_DOWN`` when the change can neither
    be kept nor be made up for by dropping everything at the next start.
    """

    def load(self) -> Ledger:
        """Return what was recorded."""

    def vouch(self) -> None:
        """Check that no other process may own the contents by now.

        Called last, when everything was done that an answer is about to promise.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """

    async def record_epoch(self, namespace: Namespace, era: int) -> None:
        """Set the epoch of one namespace."""

    async def record_floor(self, era: int) -> None:
        """Set the floor and forget all epochs."""

    async def add_member(self, member_id: str) -> None:
        """Remember a member."""

    async def remove_members(self, member_ids: Iterable[str]) -> None:
        """Forget members."""

    async def record_warm(self, namespace: Namespace, record: WarmRecord) -> None:
        """Remember that a namespace is warm."""

    async def forget_warm(self, namespaces: Iterable[Namespace] | None = None) -> None:
        """Forget that namespaces are warm, or with None that any is."""

    async def close(self) -> None:
        """Let go of it."""
