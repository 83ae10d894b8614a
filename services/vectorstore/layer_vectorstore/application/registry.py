"""The namespaces of this process: found by name, loaded on first use, written one at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from layer_kit.errors import UnavailableError
from layer_vectorstore.domain.changes import Settings
from layer_vectorstore.domain.errors import namespace_missing
from layer_vectorstore.domain.namespace import Namespace
from layer_vectorstore.ports import ChangeLog, IndexBuilder, Stream

LOCKS_COUNT: Final = 256
"""Writers of different namespaces that share a lock by chance wait for each other, no more."""

RECOUNT_INTERVAL: Final = 256
"""Changes after which all namespaces are counted anew: indexes grow without a write."""

DURABLE_WAIT_S_MAX: Final = 50.0
"""Below the 60 s after which clients give up on a request."""


@dataclass(slots=True)
class Entry:
    """A namespace with its stream. ``namespace`` is None until something needs its rows."""

    stream: Stream
    namespace: Namespace | None
    is_visible: bool
    """False while its first change is not on disk yet: only writers may see it."""
    version: int = 0
    used_at: int = 0
    """Number of the use of any namespace that was this one's last."""
    counted_bytes: int = 0
    """Its part of the memory that the registry counts."""


class Registry:
    def __init__(
        self, change_log: ChangeLog, index_builder: IndexBuilder, *, memory_bytes_max: int
    ) -> None:
        self.change_log = change_log
        self.index_builder = index_builder
        self._memory_bytes_max = memory_bytes_max
        self._uses = itertools.count(1)
        self._changes = itertools.count(1)
        self._loaded_bytes = 0
        self._count_lock = threading.Lock()
        self._locks = [threading.RLock() for _ in range(LOCKS_COUNT)]
        self._entries = {
            stream.name: Entry(stream, None, is_visible=True) for stream in change_log.streams()
        }

    def names(self) -> list[str]:
        """Return the names of all namespaces, sorted."""
        return sorted(name for name, entry in list(self._entries.items()) if entry.is_visible)

    def get(self, name: str) -> Namespace:
        """Return a namespace for reading.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
        """
        entry = self._entries.get(name)
        if entry is None or not entry.is_visible:
            raise namespace_missing(name)
        entry.used_at = next(self._uses)
        return entry.namespace or self._loaded(name, entry)

    @contextmanager
    def writing(self, name: str) -> Iterator[Entry | None]:
        """Yield the entry to the one writer at a time; None when there is no such namespace."""
        with self._lock_of(name):
            entry = self._entries.get(name)
            if entry is not None:
                entry.used_at = next(self._uses)
                self._loaded(name, entry)
            yield entry
            # The writer may have added it.
            self._make_room(self._entries.get(name))

    def add(self, name: str, settings: Settings) -> Entry:
        """Start a namespace that readers do not see yet; the caller is its writer."""
        entry = Entry(self.change_log.create(name), Namespace(name, settings), is_visible=False)
        self._entries[name] = entry
        return entry

    def forget(self, entry: Entry) -> None:
        """Let go of a namespace whose rows in memory may differ from those on disk.

        It is loaded again on its next use; one that never reached the disk is gone.
        """
        name = entry.stream.name
        with self._lock_of(name):
            if self._entries.get(name) is not entry:
                return
            if entry.is_visible:
                stream = Stream(entry.stream.number, name)
                self._entries[name] = Entry(stream, None, is_visible=True)
            else:
                del self._entries[name]
            self._count(entry)

    def remove(self, name: str) -> None:
        if (entry := self._entries.pop(name, None)) is not None:
            self._count(entry)

    def wait(self, entry: Entry, durable: Future[None]) -> None:
        """Wait until a change is on disk.

        Raises:
            UnavailableError: ``LOG_FAILED`` or ``LOG_SLOW``; then the namespace has been forgotten,
                and is read from the disk again.
        """
        try:
            durable.result(DURABLE_WAIT_S_MAX)
        except BaseException as error:
            entry.stream.has_failed = True
            self.forget(entry)
            if isinstance(error, TimeoutError):
                raise UnavailableError(
                    "LOG_SLOW", f"💔 the disk took longer than {DURABLE_WAIT_S_MAX:.0f} seconds"
                ) from error
            raise
        entry.is_visible = True

    def _loaded(self, name: str, entry: Entry) -> Namespace:
        with self._lock_of(name):
            if entry.namespace is not None:
                return entry.namespace
            restored = Namespace.restored(name, self.change_log.replay(entry.stream))
            if restored is None:
                raise namespace_missing(name)
            entry.namespace = restored
            self._make_room(entry)
            self.index_builder.consider(entry.stream, restored.latest)
            return restored

    def _make_room(self, needed: Entry | None) -> None:
        """Let go of the namespaces used longest ago until the others fit in memory.

        Nothing is lost: they are on disk, or queued for it before whatever reads them again.
        Readers keep the views they have.
        """
        if needed is not None:
            self._count(needed)
        if next(self._changes) % RECOUNT_INTERVAL == 0:
            for entry in list(self._entries.values()):
                self._count(entry)
        if self._loaded_bytes <= self._memory_bytes_max:
            return
        loaded = [entry for entry in list(self._entries.values()) if entry.namespace]
        for entry in sorted(loaded, key=lambda entry: entry.used_at):
            if self._loaded_bytes <= self._memory_bytes_max:
                return
            lock = self._lock_of(entry.stream.name)
            # A namespace that someone writes to is in use; waiting for it could be a deadlock.
            if entry is needed or not entry.is_visible or not lock.acquire(blocking=False):
                continue
            entry.namespace = None
            lock.release()
            self._count(entry)

    def _count(self, entry: Entry) -> None:
        """Bring the total up to the memory that a namespace takes now."""
        with self._count_lock:
            namespace = entry.namespace
            is_held = namespace is not None and self._entries.get(entry.stream.name) is entry
            size_bytes = namespace.table.memory_bytes if namespace and is_held else 0
            self._loaded_bytes += size_bytes - entry.counted_bytes
            entry.counted_bytes = size_bytes

    def _lock_of(self, name: str) -> threading.RLock:
        return self._locks[hash(name) % LOCKS_COUNT]
