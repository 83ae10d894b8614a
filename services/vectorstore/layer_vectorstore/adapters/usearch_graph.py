"""The graph of an approximate index, by usearch: hierarchical navigable small worlds."""

from __future__ import annotations

from typing import Final

import numpy as np
from usearch.index import Index

from layer_vectorstore.domain.columns import Slots
from layer_vectorstore.domain.vectors import Float32s, Metric

_METRICS: Final = {Metric.COSINE: "cos", Metric.EUCLIDEAN: "l2sq"}

_PRECISIONS: Final = {Metric.COSINE: "i8", Metric.EUCLIDEAN: "bf16"}
"""Bytes hold directions well; lengths need an exponent, one that overflows no earlier than f32."""

THREADS_COUNT: Final = 1
"""Per call. More would take cores from queries, which run side by side anyway."""


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
