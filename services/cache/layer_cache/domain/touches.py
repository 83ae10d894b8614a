"""Which ids were fenced, settled or dropped lately, and when in the cache's order.

A backfill holds a read token that says how far the order had come when its upstream read began.
If its id was touched later, the row it brings may be older than what was written, so it is
refused. A token is void after ``BACKFILL_AGE_S_MAX``, so a touch need not be remembered longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from layer_cache.domain.limits import BACKFILL_AGE_S_MAX
from layer_cache.domain.rows import RowKey


class RecentTouches:
    """The last touch of each id, for as long as it can matter, within a bound.

    Over the bound the oldest touches are forgotten and the *floor* rises to the newest of them:
    every backfill whose token is older than the floor is then refused, whatever its id. Memory
    pressure thus costs hits, never correctness.
    """

    def __init__(self, *, count_max: int) -> None:
        self._count_max = count_max
        self._last: dict[RowKey, int] = {}
        self._queue: deque[tuple[float, int, Sequence[RowKey]]] = deque()
        self._queued_count = 0
        self._floor = 0

    def __len__(self) -> int:
        return self._queued_count

    def touch(self, keys: Sequence[RowKey], sequence: int, now_s: float) -> None:
        """Record that ``keys`` were touched at ``sequence``, higher than any before."""
        self.forget(now_s)
        for key in keys:
            self._last[key] = sequence
        self._queue.append((now_s + BACKFILL_AGE_S_MAX, sequence, keys))
        self._queued_count += len(keys)
        while self._queued_count > self._count_max:
            self._floor = max(self._floor, self._pop())

    def is_touched_since(self, key: RowKey, sequence: int) -> bool:
        """Tell whether ``key`` was, or may have been, touched after ``sequence``."""
        return self._floor > sequence or self._last.get(key, 0) > sequence

    def forget(self, now_s: float) -> None:
        """Drop the touches that no valid token can be older than.

        A touch is kept while ``now <= touched + BACKFILL_AGE_S_MAX``; a token issued before it
        is over age strictly later than that.
        """
        while self._queue and self._queue[0][0] < now_s:
            self._pop()

    def _pop(self) -> int:
        _, sequence, keys = self._queue.popleft()
        self._queued_count -= len(keys)
        for key in keys:
            if self._last.get(key) == sequence:
                del self._last[key]
        return sequence
