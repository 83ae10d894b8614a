"""An approximate index beside a column of vectors, fed in the background while it is searched.

It only proposes slots. Distances and the order of ties come from the column itself, rows that the
index has not seen yet are searched exactly, and dead or filtered rows are dropped from what it
proposes; so a missed neighbour is the only way in which an answer can differ from the exact one.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from layer_vectorstore.domain.columns import Mask, Slots
from layer_vectorstore.domain.vectors import Float32s, Metric

CANDIDATES_COUNT_MIN: Final = 100
CANDIDATES_PER_RESULT: Final = 3
"""The index compares rounded vectors, so more than the wanted rows are compared exactly."""

GROWTH_FACTOR: Final = 4
"""By how many more rows are asked for when a filter dropped too many of the last ones."""

ROWS_PER_CANDIDATE_MIN: Final = 40
"""With fewer rows than this per candidate, multiplying all of them is faster."""


class Graph(Protocol):
    """The structure itself; of its calls only a search and saving may overlap."""

    @property
    def size_bytes(self) -> int: ...

    def add(self, slots: Slots, vectors: Float32s) -> None: ...

    def search(self, query: Float32s, count: int) -> Slots:
        """Return up to ``count`` slots that are probably the nearest, in any order."""
        ...

    def save(self, path: Path) -> None:
        """Write it to a file.

        Raises:
            OSError: When it cannot be written.
        """
        ...


class Graphs(Protocol):
    """Makes graphs."""

    def new(self, dimensions: int, metric: Metric) -> Graph: ...

    def load(self, path: Path, dimensions: int, metric: Metric) -> Graph:
        """Return what was saved; whatever follows it in the file does not matter."""
        ...

    def bytes_max(self, rows_count: int, dimensions: int, metric: Metric) -> int:
        """Return how much memory a graph of so many rows takes at most."""
        ...


class ApproximateIndex:
    """One thread adds; any number search."""

    def __init__(self, graph: Graph, metric: Metric) -> None:
        self.graph = graph
        self._access = threading.Lock()
        self._next = threading.Lock()
        self.metric = metric
        self.is_ready = False
        """False while it is filled for the first time; until then searches are exact."""
        self.slots_count = 0
        """Each row below this slot is in the graph or among ``left_out``."""
        self.left_out: Slots = np.empty(0, dtype=np.int64)
        """Ascending slots that were dead before they were added; older readers may see them."""
        self.rows_count = 0
        self.size_bytes = 0

    @classmethod
    def restored(
        cls, graph: Graph, metric: Metric, *, slots_count: int, rows_count: int, left_out: Slots
    ) -> ApproximateIndex:
        """Return an index as it was saved; rows may be missing, so it is not ready yet."""
        index = cls(graph, metric)
        index.slots_count, index.rows_count = slots_count, rows_count
        index.left_out, index.size_bytes = left_out, graph.size_bytes
        return index

    def leave_out(self, slots: Slots) -> None:
        """Note the dead slots from ``slots_count`` on, before the rows between them are added."""
        known_count = int(np.searchsorted(self.left_out, self.slots_count))
        self.left_out = np.concatenate([self.left_out[:known_count], slots])

    def add(self, slots: Slots, vectors: Float32s) -> None:
        """Add rows whose slots ascend and follow those added before."""
        with self._alone():
            self.graph.add(slots, vectors)
            self.size_bytes = self.graph.size_bytes
        self.rows_count += len(slots)
        self.slots_count = int(slots[-1]) + 1

    def finish(self, slots_count: int) -> None:
        """Note that all rows below ``slots_count`` have been added or left out."""
        # Views are published in any order, so one that comes late may be the older one.
        self.slots_count = max(self.slots_count, slots_count)
        self.is_ready = True

    def candidates(self, query: Float32s, slots: Slots, count: int) -> Slots | None:
        """Return at least ``count`` of ``slots``, the likely nearest.

        Args:
            query: float32 ``(dimensions,)``.
            slots: Ascending, all below ``slots_count``.
            count: Rows that the caller is going to return.

        Returns:
            None when an exact search is the better way: the rows are few, or the filter keeps
            few of those that are near.
        """
        if not len(slots):
            return None
        asked_count = max(CANDIDATES_COUNT_MIN, CANDIDATES_PER_RESULT * count)
        asked_count = math.ceil(asked_count * max(1.0, self.rows_count / len(slots)))
        while asked_count * ROWS_PER_CANDIDATE_MIN <= self.rows_count:
            with self._alone():
                found = np.sort(self.graph.search(query, asked_count))
            kept = found[are_in(slots, found)]
            if len(kept) >= count:
                return kept
            asked_count *= GROWTH_FACTOR
        return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Whoever waits for access holds the place next in line, which keeps the thread that adds
        # from taking access again and again while searches wait.
        with self._next:
            self._access.acquire()
        try:
            yield
        finally:
            self._access.release()


def are_in(ascending: Slots, wanted: Slots) -> Mask:
    """Return which of ``wanted`` are among ``ascending``, of which there is at least one."""
    places = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    same: Mask = ascending[places] == wanted
    return same
