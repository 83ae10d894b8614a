"""The graph of an approximate index, by usearch: hierarchical navigable small worlds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from usearch.index import Index

from layer_vectorstore.domain.columns import Slots
from layer_vectorstore.domain.vectors import Float32s, Metric

_METRICS: Final = {Metric.COSINE: "cos", Metric.EUCLIDEAN: "l2sq"}

_PRECISIONS: Final = {Metric.COSINE: "i8", Metric.EUCLIDEAN: "bf16"}
"""Bytes hold directions well; lengths need an exponent, one that overflows no earlier than f32."""

_COMPONENT_BYTES: Final = {Metric.COSINE: 1, Metric.EUCLIDEAN: 2}

THREADS_COUNT: Final = 1
"""Per call. More would take cores from queries, which run side by side anyway."""

LINKS_BYTES: Final = 160
"""Of one row, beside its components: key, level and neighbours."""

ARENA_BYTES_MIN: Final = 16 << 20


class UsearchGraph:
    """Implements ``domain.approximate.Graph``."""

    def __init__(self, dimensions: int, metric: Metric) -> None:
        self._index = Index(ndim=dimensions, metric=_METRICS[metric], dtype=_PRECISIONS[metric])

    @property
    def size_bytes(self) -> int:
        return int(self._index.memory_usage)

    def add(self, slots: Slots, vectors: Float32s) -> None:
        self._index.add(slots.astype(np.uint64), vectors, copy=True, threads=THREADS_COUNT)

    def search(self, query: Float32s, count: int) -> Slots:
        found = self._index.search(query, count, threads=THREADS_COUNT)
        slots: Slots = np.asarray(found.keys).astype(np.int64)
        return slots

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def load(self, path: Path) -> None:
        self._index.load(str(path))


class UsearchGraphs:
    """Implements ``domain.approximate.Graphs``."""

    def new(self, dimensions: int, metric: Metric) -> UsearchGraph:
        return UsearchGraph(dimensions, metric)

    def load(self, path: Path, dimensions: int, metric: Metric) -> UsearchGraph:
        graph = UsearchGraph(dimensions, metric)
        graph.load(path)
        return graph

    def bytes_max(self, rows_count: int, dimensions: int, metric: Metric) -> int:
        row_bytes = dimensions * _COMPONENT_BYTES[metric] + LINKS_BYTES
        # Memory is taken in arenas, each twice as large as the one before.
        return ARENA_BYTES_MIN + 2 * rows_count * row_bytes
