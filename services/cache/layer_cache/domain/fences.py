"""Fences: what stands between the start of an upstream write and its settlement.

A fence takes the entries of its rows away. What the settlement may bring back depends on one
question: was this write alone? Two fences on a row overlap when one was opened while the other
stood. Then nobody here knows which write came last upstream, so neither may leave an entry.
Overlap is symmetric and always seen by the later opening, so it is marked there, on both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from layer_cache.domain.limits import Limits
from layer_cache.domain.rows import Entry, RowKey
from layer_kit.errors import QuotaExceededError
from layer_kit.names import Namespace


class FenceName(NamedTuple):
    """Fence ids are the caller's, unique within a namespace."""

    namespace: Namespace
    fence_id: bytes


class Fence:
    """One write in flight. Only :class:`Fences` changes it."""

    __slots__ = (
        "alone",
        "era",
        "expires_s",
        "has_lost",
        "hidden",
        "is_closed",
        "name",
        "overlapped",
    )

    def __init__(self, name: FenceName, era: int) -> None:
        self.name = name
        self.era = era
        self.expires_s = math.inf
        self.is_closed = False
        self.has_lost = False
        self.hidden: dict[RowKey, Entry | None] = {}
        self.overlapped: set[RowKey] = set()
        self.alone = (self,)


class Fences:
    """The fences that stand, by name and by row.

    Invariant: a row under a fence has no entry in the store. Hence lookups need not ask here.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_name: dict[FenceName, Fence] = {}
        self._by_key: dict[RowKey, tuple[Fence, ...]] = {}
        self._closing: list[Fence] = []
        self._hiding: dict[Namespace, set[Fence]] = {}
        self._hidden_bytes = 0
        self.expired_count = 0
        self.overlap_count = 0

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def fenced_ids_count(self) -> int:
        return len(self._by_key)

    @property
    def hidden_bytes(self) -> int:
        return self._hidden_bytes

    def open(self, name: FenceName, *, ids_count: int, era: int) -> Fence:
        """Return the fence called ``name``, new unless it stands already.

        It does not run out before :meth:`arm`.

        Raises:
            QuotaExceededError: ``TOO_MANY_FENCES``.
        """
        if (standing := self._by_name.get(name)) is not None:
            return standing
        if (
            len(self._by_name) >= self._limits.fences_max
            or len(self._by_key) + ids_count > self._limits.fenced_ids_max
        ):
            raise QuotaExceededError(
                "TOO_MANY_FENCES",
                "Too many writes are in flight through the cache; write without a fence.",
                fences_max=self._limits.fences_max,
                fenced_ids_max=self._limits.fenced_ids_max,
            )
        fence = self._by_name[name] = Fence(name, era)
        return fence

    def cover(self, fence: Fence, keys: Sequence[RowKey]) -> None:
        """Put ``keys`` under ``fence``. Repeating a key changes nothing."""
        for key in keys:
            others = self._by_key.get(key)
            if others is None:
                self._by_key[key] = fence.alone
                fence.hidden[key] = None
            elif fence not in others:
                self._by_key[key] = (*others, fence)
                fence.hidden[key] = None
                for party in (*others, fence):
                    self._spoil(party, key)

    def hide(self, fence: Fence, keys: Sequence[RowKey], entries: Sequence[Entry | None]) -> None:
        """Keep the entries that ``fence`` took away, if there is room and they may come back."""
        hidden, is_hiding = fence.hidden, False
        for key, entry in zip(keys, entries, strict=True):
            if entry is None:
                continue
            size = _size(entry)
            is_covered = key in hidden
            is_hiding |= is_covered
            if (
                is_covered
                and key not in fence.overlapped
                and self._hidden_bytes + size <= self._limits.hidden_bytes_max
            ):
                self._forget_hidden(fence, key)
                hidden[key] = entry
                self._hidden_bytes += size
            else:
                fence.has_lost = True
        if is_hiding:
            self._hiding.setdefault(fence.name.namespace, set()).add(fence)

    def hiding(self, namespace: Namespace) -> frozenset[Fence]:
        """Return those that keep entries of ``namespace`` out of sight."""
        return frozenset(self._hiding.get(namespace, ()))

    def arm(self, fence: Fence, expires_s: float) -> None:
        """Let ``fence`` run out at ``expires_s``, unless it was armed before."""
        fence.expires_s = min(fence.expires_s, expires_s)

    def spoil(self, keys: Sequence[RowKey]) -> None:
        """Mark that ``keys`` were written by someone without a fence that stands now."""
        for key in keys:
            for fence in self._by_key.get(key, ()):
                self._spoil(fence, key)

    def is_fenced(self, key: RowKey) -> bool:
        return key in self._by_key

    def find(self, name: FenceName, now_s: float) -> tuple[Fence | None, bool]:
        """Return the same as :meth:`take`, and leave a fence standing that does."""
        fence = self._by_name.get(name)
        if fence is None or fence.expires_s <= now_s:
            return self.take(name, now_s)
        return fence, True

    def take(self, name: FenceName, now_s: float) -> tuple[Fence | None, bool]:
        """Close the fence called ``name`` for its settlement.

        Returns the fence, if its rows are still known, and whether it stood until now. The rows
        stay fenced until they are released.
        """
        fence = self._by_name.pop(name, None)
        if fence is None:
            return None, False
        fence.is_closed = True
        if fence.expires_s <= now_s:
            self.expired_count += 1
            return fence, False
        return fence, True

    def release(
        self, fence: Fence, keys: Sequence[RowKey]
    ) -> list[tuple[RowKey, Entry | None, bool]]:
        """Take ``keys`` out of ``fence``; return each with what it hid and whether its write was
        alone."""
        found, by_key, alone = list(map(fence.hidden.pop, keys)), self._by_key, fence.alone
        self._hidden_bytes -= sum(_size(entry) for entry in found if entry is not None)
        if not fence.hidden:
            self._forget_hiding(fence)
        for key, standing in zip(keys, map(by_key.pop, keys), strict=True):
            if standing is not alone:
                remaining = tuple(other for other in standing if other is not fence)
                if remaining:
                    by_key[key] = remaining[0].alone if len(remaining) == 1 else remaining
        overlapped = fence.overlapped
        return [(key, entry, key not in overlapped) for key, entry in zip(keys, found, strict=True)]

    def expire(self, now_s: float) -> None:
        """Close every fence that has run out. Its rows are released by :meth:`release_closed`."""
        for name, fence in list(self._by_name.items()):
            if fence.expires_s <= now_s:
                del self._by_name[name]
                self.abandon(fence)
                self.expired_count += 1

    def abandon(self, fence: Fence) -> None:
        """Leave the rows of ``fence`` to :meth:`release_closed`."""
        fence.is_closed = True
        self._closing.append(fence)

    def release_closed(self, count_max: int) -> list[RowKey]:
        """Release up to ``count_max`` rows of closed fences; what they hid is dropped."""
        released: list[RowKey] = []
        while self._closing and len(released) < count_max:
            fence = self._closing[-1]
            some = list(_first(fence, count_max - len(released)))
            self.release(fence, some)
            released += some
            if not fence.hidden:
                self._closing.pop()
        return released

    def _spoil(self, fence: Fence, key: RowKey) -> None:
        if key not in fence.overlapped:
            fence.overlapped.add(key)
            self.overlap_count += 1
        fence.has_lost |= fence.hidden[key] is not None
        self._forget_hidden(fence, key)
        fence.hidden[key] = None

    def _forget_hiding(self, fence: Fence) -> None:
        namespace = fence.name.namespace
        if (hiding := self._hiding.get(namespace)) is not None:
            hiding.discard(fence)
            if not hiding:
                del self._hiding[namespace]

    def _forget_hidden(self, fence: Fence, key: RowKey) -> None:
        if (entry := fence.hidden[key]) is not None:
            self._hidden_bytes -= _size(entry)


def _size(entry: Entry) -> int:
    return len(entry.body) + len(entry.vectors)


def _first(fence: Fence, count_max: int) -> Iterator[RowKey]:
    return islice(fence.hidden, count_max)
