"""A namespace in memory: the table that writes change and the views that reads get.

With an index lag, rows count as indexed only some time after they were written: reads that
accept slightly old rows then get the last indexed view, as the hosted service would answer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from layer_vectorstore.domain.changes import Change, Put, Settings
from layer_vectorstore.domain.columns import Slots
from layer_vectorstore.domain.schema import ID
from layer_vectorstore.domain.table import Table, TableView

PENDING_VIEWS_COUNT_MAX: Final = 256
"""Views kept for the index lag; past it, the newest are indexed together."""

REBUILD_CHUNK_ROWS: Final = 4096
REBUILD_CHUNK_BYTES: Final = 16 << 20
DEAD_SLOTS_MIN: Final = 10_000
DEAD_FRACTION_MAX: Final = 0.125
"""Of the rows of a namespace at its bound; a rebuild for fewer slots costs more than it gives."""


@dataclass(slots=True)
class _PendingView:
    written_at_ms: int
    view: TableView
    rows_count: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class Unindexed:
    rows_count: int
    written_bytes: int


class Namespace:
    """Changed by one writer at a time; views may be read by anyone."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.table = Table(settings.schema, settings.metric)
        self._latest = self._indexed = self.table.view()
        self._latest_version = 0
        self._pending: deque[_PendingView] = deque()
        self._lock = threading.Lock()

    @classmethod
    def restored(cls, name: str, changes: Iterable[Change]) -> Namespace | None:
        """Return the namespace that a history leads to; None if there was none."""
        namespace = None
        for change in changes:
            if namespace is None:
                namespace = cls(name, change.settings)
            namespace.replay(change)
        if namespace is not None:
            namespace.finish_replay()
        return namespace

    @property
    def latest(self) -> TableView:
        """All rows that were acknowledged."""
        return self._latest

    def indexed(self, indexed_until_ms: int) -> TableView:
        """Return the rows whose writes count as indexed: those of that moment and earlier ones."""
        self._settle(indexed_until_ms)
        indexed, latest = self._indexed, self._latest
        if len(indexed.live) and indexed.columns[ID] is not latest.columns[ID]:
            # The table was rebuilt since, so its slots are others.
            return indexed
        # Only rows lag behind: a schema is in force at once.
        return replace(latest, live=indexed.live, written_at_ms=indexed.written_at_ms)

    def current_view(self) -> TableView:
        """Return the rows of the table now, which readers do not see before they are published."""
        return replace(self.table.view(), written_at_ms=self.settings.last_write_at_ms)

    def unindexed(self, indexed_until_ms: int) -> Unindexed:
        self._settle(indexed_until_ms)
        pending = list(self._pending)
        return Unindexed(
            sum(part.rows_count for part in pending), sum(part.written_bytes for part in pending)
        )

    def publish(
        self,
        view: TableView,
        version: int,
        *,
        now_ms: int,
        indexed_until_ms: int,
        rows_count: int,
        written_bytes: int,
    ) -> None:
        """Show a view to readers; writes that became durable together may come in any order."""
        with self._lock:
            if version > self._latest_version:
                self._latest, self._latest_version = view, version
            if len(self._pending) >= PENDING_VIEWS_COUNT_MAX:
                newest = self._pending.pop()
                rows_count += newest.rows_count
                written_bytes += newest.written_bytes
            # The latest, since a view that comes late must not hide a later one.
            self._pending.append(_PendingView(now_ms, self._latest, rows_count, written_bytes))
        self._settle(indexed_until_ms)

    def replay(self, change: Change) -> None:
        """Apply a change without showing it; :meth:`finish_replay` follows the last."""
        self.settings = change.settings
        self.table.change_schema(change.settings.schema, change.settings.metric)
        for step in change.steps:
            self.table.apply(step, index_text=False)

    def finish_replay(self) -> None:
        """Show the table as it is to all readers."""
        self.table.index_text()
        self._latest = self._indexed = self.current_view()

    def is_worth_rebuilding(self, memory_bytes_max: int) -> bool:
        """Return whether most slots are dead, or some while memory is short."""
        dead_count = self.table.slots_count - self.table.rows_count
        if dead_count > max(self.table.rows_count, DEAD_SLOTS_MIN):
            return True
        is_short = self.table.memory_bytes > memory_bytes_max
        return is_short and dead_count > DEAD_FRACTION_MAX * self.table.rows_count

    def _settle(self, indexed_until_ms: int) -> None:
        with self._lock:
            while self._pending and self._pending[0].written_at_ms <= indexed_until_ms:
                self._indexed = self._pending.popleft().view


def rows_as_changes(settings: Settings, view: TableView) -> list[Change]:
    """Return the shortest history that leads to the rows of ``view``."""
    attributes = [name for name in settings.schema.attributes if name != "id"]
    changes = [Change(settings=settings)]
    for chunk in _chunks(view.live_slots, view.sizes):
        columns = {name: view.columns[name].values(chunk) for name in attributes}
        changes.append(Change(settings=settings, steps=[Put(view.ids(chunk), columns)]))
    return changes


def _chunks(slots: Slots, sizes: NDArray[np.int64]) -> Iterator[Slots]:
    """Cut slots into parts that are small in rows and, but for single large rows, in bytes."""
    ends = np.cumsum(sizes[slots])
    start, before = 0, 0
    while start < len(slots):
        within_bytes = int(np.searchsorted(ends, before + REBUILD_CHUNK_BYTES, side="right"))
        end = min(max(within_bytes, start + 1), start + REBUILD_CHUNK_ROWS, len(slots))
        yield slots[start:end]
        start, before = end, int(ends[end - 1])
