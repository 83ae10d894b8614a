"""Watermarks in memory that all workers of a pool see.

A caller's connections end at different workers, and must not see a namespace go back in time.
What one worker has answered with is therefore in this table before its answer leaves, and every
other looks there before it cuts a query. Looking is a few reads of memory; nothing is sent.
docs/decisions/0024-workers.md has the reasons.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import xxhash

from layer_gateway.ports.watching import Mark
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus

SLOTS_COUNT: Final = 1 << 15
"""Three times as many as there are namespaces that a gateway watches."""

PROBES_MAX: Final = 16
_SLOT: Final = struct.Struct("@QQqqq")
"""Two halves of a namespace's hash, its watermark or -1, when it was polled, and its status."""

TABLE_BYTES: Final = SLOTS_COUNT * _SLOT.size
_STATUSES: Final = tuple(IndexStatus)
_DELETED: Final = len(_STATUSES)
_NONE: Final = -1


def new_table() -> int:
    """Return the descriptor of an empty table, which children may inherit."""
    descriptor = os.memfd_create("layer-watermarks")
    os.ftruncate(descriptor, TABLE_BYTES)
    return descriptor


class MarkTable:
    """The table of a pool, as one of its processes sees it.

    A slot is written under a lock and read without one. Each of its numbers is written at once,
    and goes only forward until the namespace is deleted, so that a reader never sees one that was
    not true.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, TABLE_BYTES)

    def close(self) -> None:
        """Let go of the memory; it lives on while any process of the pool does."""
        self._memory.close()

    def read(self, namespace: Namespace) -> Mark | None:
        """Return what the pool knows of ``namespace``."""
        key = namespace_key(namespace)
        for at in _places(key):
            high, low, watermark_ms, polled_at_ms, status = self._slot(at)
            if (high, low) == key:
                return Mark(
                    namespace=namespace,
                    status=IndexStatus.UNKNOWN if status == _DELETED else _STATUSES[status],
                    watermark_ms=None if watermark_ms == _NONE else watermark_ms,
                    polled_at_ms=polled_at_ms,
                    is_deleted=status == _DELETED,
                )
            if not high and not low:
                return None
        return None

    def publish(self, mark: Mark) -> None:
        """Add what one process has learnt; a watermark in the table never goes back."""
        key = namespace_key(mark.namespace)
        ours = _NONE if mark.watermark_ms is None else mark.watermark_ms
        with self._locked():
            at = self._place(key)
            high, low, watermark_ms, polled_at_ms, status = self._slot(at)
            if (high, low) != key:
                watermark_ms, polled_at_ms, status = _NONE, _NONE, 0
                _SLOT.pack_into(self._memory, at, 0, 0, _NONE, _NONE, 0)
            elif status == _DELETED and mark.polled_at_ms <= polled_at_ms:
                return  # it tells of what was deleted meanwhile
            if mark.polled_at_ms >= polled_at_ms:
                polled_at_ms, status = mark.polled_at_ms, _STATUSES.index(mark.status)
            _SLOT.pack_into(self._memory, at, *key, max(watermark_ms, ours), polled_at_ms, status)

    def forget(self, namespace: Namespace, at_ms: int) -> None:
        """Have every process give up what it knew of a namespace; the slot stays for those after.

        Nothing is put where nothing is known.
        """
        key = namespace_key(namespace)
        with self._locked():
            at = self._place(key)
            high, low, _, polled_at_ms, _ = self._slot(at)
            if (high, low) == key and polled_at_ms <= at_ms:
                _SLOT.pack_into(self._memory, at, *key, _NONE, at_ms, _DELETED)

    def _slot(self, at: int) -> tuple[int, int, int, int, int]:
        high, low, watermark_ms, polled_at_ms, status = _SLOT.unpack_from(self._memory, at)
        return high, low, watermark_ms, polled_at_ms, status

    def _place(self, key: tuple[int, int]) -> int:
        """Return where ``key`` is or may go: a free slot, or whose poll is the longest ago."""
        oldest, oldest_ms = -1, 0
        for at in _places(key):
            high, low, _, polled_at_ms, _ = self._slot(at)
            if (high, low) == key or (not high and not low):
                return at
            if oldest < 0 or polled_at_ms < oldest_ms:
                oldest, oldest_ms = at, polled_at_ms
        return oldest

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def namespace_key(namespace: Namespace) -> tuple[int, int]:
    """Return the halves of a namespace's hash, of which the first is never 0."""
    digest = xxhash.xxh3_128_intdigest(namespace.encode())
    return (digest >> 64) | 1, digest & (1 << 64) - 1


def _places(key: tuple[int, int]) -> Iterator[int]:
    first = key[1] % SLOTS_COUNT
    return ((first + probe) % SLOTS_COUNT * _SLOT.size for probe in range(PROBES_MAX))
