"""Writes on their way, in memory that all workers of a pool see.

A watermark must not pass a write that is still on its way through the gateway, whichever of its
workers has it. Each worker has a region of its own, in which it alone writes, and whoever polls an
index looks into all of them. docs/decisions/0024-workers.md has the reasons.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import Final

from layer_gateway.pool.marks import namespace_key
from layer_kit.names import Namespace

PLACES_COUNT: Final = 1 << 10
"""Namespaces that one worker may be writing to, before the others take some to be any."""

PROBES_MAX: Final = 8
_PLACE: Final = struct.Struct("@QQq")
"""Two halves of a namespace's hash, and the earliest stamp on its way; or three times 0."""

_FREE: Final = bytes(_PLACE.size)
REGION_BYTES: Final = _PLACE.size * (1 + PLACES_COUNT)
"""The first place stands for every namespace that has found none."""


def new_flights(workers_count: int) -> int:
    """Return the descriptor of an empty table, which children may inherit."""
    descriptor = os.memfd_create("layer-flights")
    os.ftruncate(descriptor, REGION_BYTES * workers_count)
    return descriptor


def clear_flights(descriptor: int, number: int) -> None:
    """Forget what a worker that is no more had on its way; nobody was told that it succeeded."""
    os.pwrite(descriptor, bytes(REGION_BYTES), REGION_BYTES * number)


class FlightTable:
    """The table of a pool, as one of its workers sees it.

    Args:
        number: Whose region is written.
    """

    def __init__(self, descriptor: int, number: int) -> None:
        self._memory = mmap.mmap(descriptor, 0)
        self._own = REGION_BYTES * number
        self._without_place: dict[Namespace, int] = {}
        clear_flights(descriptor, number)

    def close(self) -> None:
        """Let go of the memory; it lives on while any process of the pool does."""
        self._memory.close()

    def begun(self, namespace: Namespace, stamp_ms: int) -> None:
        """Tell that no write of this worker to ``namespace`` has an earlier stamp."""
        if namespace not in self._without_place:
            key = namespace_key(namespace)
            if (at := self._place(key)) is not None:
                _PLACE.pack_into(self._memory, at, *key, stamp_ms)
                return
        self._without_place[namespace] = stamp_ms
        self._tell_without_place()

    def ended(self, namespace: Namespace) -> None:
        """Tell that this worker has no write to ``namespace`` on its way any more."""
        if self._without_place.pop(namespace, None) is not None:
            self._tell_without_place()
            return
        at = self._place(namespace_key(namespace))
        if at is not None:
            self._memory[at : at + _PLACE.size] = _FREE

    def earliest(self, namespace: Namespace) -> int | None:
        """Return a stamp before which no worker has a write on its way; None where none has any."""
        key = namespace_key(namespace)
        found: list[int] = []
        for region in range(0, len(self._memory), REGION_BYTES):
            _, _, without_place_ms = _PLACE.unpack_from(self._memory, region)
            if without_place_ms:
                found.append(without_place_ms)
            for at in _places(region, key):
                high, low, stamp_ms = _PLACE.unpack_from(self._memory, at)
                if (high, low) == key:
                    found.append(stamp_ms)
        return min(found, default=None)

    def _place(self, key: tuple[int, int]) -> int | None:
        """Return where this worker has ``key``, else where there is room for it, if there is."""
        free = None
        for at in _places(self._own, key):
            high, low, _ = _PLACE.unpack_from(self._memory, at)
            if (high, low) == key:
                return at
            if free is None and not high:
                free = at
        return free

    def _tell_without_place(self) -> None:
        earliest_ms = min(self._without_place.values(), default=0)
        _PLACE.pack_into(self._memory, self._own, 0, 0, earliest_ms)


def _places(region: int, key: tuple[int, int]) -> Iterator[int]:
    first = key[1] % PLACES_COUNT
    return (
        region + (1 + (first + probe) % PLACES_COUNT) * _PLACE.size for probe in range(PROBES_MAX)
    )
