"""A cache with a bound, from which what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Holds values whose weights together stay within ``weight_max``."""

    def __init__(self, weight_max: int) -> None:
        self._weight_max = weight_max
        self._weight = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, *, weight: int) -> None:
        """Keep a value; one that is too heavy by itself is not kept."""
        self._drop(key)
        if weight > self._weight_max:
            return
        self._entries[key] = (value, weight)
        self._weight += weight
        while self._weight > self._weight_max:
            self._drop(next(iter(self._entries)))

    def discard(self, is_unwanted: Callable[[K], bool]) -> None:
        """Drop every entry whose key is unwanted."""
        for key in [key for key in self._entries if is_unwanted(key)]:
            self._drop(key)

    @property
    def weight(self) -> int:
        return self._weight

    def _drop(self, key: K) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._weight -= entry[1]
