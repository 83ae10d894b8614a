"""Columns of dense, late-interaction and sparse vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from layer_vectorstore.domain.approximate import ApproximateIndex, are_in
from layer_vectorstore.domain.columns import Mask, Rows, Slots
from layer_vectorstore.domain.growing import GrowingArray
from layer_vectorstore.domain.vectors import Float32s, Float64s, Metric, distances

EXACT_ROWS_MAX: Final = 2048
"""Up to this many rows the exact distance of each costs less than choosing candidates."""

GATHER_FRACTION_MAX: Final = 0.4
"""Below this share of the slots, copying the wanted rows beats multiplying all of them."""

GATHER_BYTES: Final = 256 << 10
"""Rows are copied in parts of this size, which the processor's cache holds until multiplied."""

SQUARE_MIN, SQUARE_MAX = 1e-30, 1e30
"""Squared lengths beyond these come from components whose products leave the range of 32 bits."""

INDEX_FRACTION_MIN: Final = 0.2
"""Below this share of the slots, an exact search beats dropping most of what an index finds."""


@dataclass(frozen=True, slots=True)
class FoundByIndex:
    """Slots with their exact distances, unsorted."""

    slots: Slots
    distances: Float32s
    unknown_count: int
    """Rows that the index does not have, all of which were compared."""


class DenseColumn:
    """Float32 ``(slots, dimensions)`` with the squared length of each row.

    No value is ever missing: every row of a namespace carries all its vectors.
    """

    def __init__(self, dimensions: int) -> None:
        self._matrix: GrowingArray[np.float32] = GrowingArray(np.float32, width=dimensions)
        self._squares: GrowingArray[np.float32] = GrowingArray(np.float32)
        self.dimensions = dimensions
        self.index: ApproximateIndex | None = None

    @property
    def slots_count(self) -> int:
        return self._matrix.count

    def extend(self, values: Float32s) -> None:
        with np.errstate(over="ignore"):
            squares = np.einsum("ij,ij->i", values, values)
        self._matrix.extend(values)
        self._squares.extend(squares)

    def extend_missing(self, count: int) -> None:
        """Append zeros: for slots of rows that died before the column came to be."""
        self._matrix.fill(0, count)
        self._squares.fill(0, count)

    def values(self, rows: Rows) -> Float32s:
        return self._matrix.view()[rows]

    def nearest(
        self, query: Float32s, metric: Metric, slots: Slots, count: int, slots_count: int
    ) -> tuple[Slots, Float32s]:
        """Return at least the ``count`` nearest of ``slots``, with exact distances, unsorted.

        Whatever ties with the last of them is among them too, so that the caller can break
        ties as it likes.
        """
        if len(slots) > EXACT_ROWS_MAX and len(slots) > count:
            # What leaves the range of 32 bits is found out, and compared in 64 bits.
            with np.errstate(over="ignore", invalid="ignore"):
                slots = self._candidates(query, metric, slots, count, slots_count)
        return slots, distances(self._matrix.view()[slots], query, metric)

    def nearest_by_index(
        self, query: Float32s, metric: Metric, slots: Slots, count: int, live: Mask
    ) -> FoundByIndex | None:
        """Do as :meth:`nearest` does by the approximate index, which may miss a neighbour.

        Rows that the index does not have are searched exactly.

        Args:
            query: float32 ``(dimensions,)``.
            metric: Of the namespace.
            slots: Ascending, some of the live ones.
            count: Rows that the caller is going to return.
            live: Over all slots of the reader's view, which may be an old one.

        Returns:
            None when there is no index for this, or an exact search is faster.
        """
        index = self.index
        if index is None or not index.is_ready or index.metric is not metric:
            return None
        # A zero vector is equally far from everything, so no graph leads anywhere.
        if len(slots) < INDEX_FRACTION_MIN * len(live) or not query.any():
            return None
        known_slots_count = min(index.slots_count, len(live))
        known_count = int(np.searchsorted(slots, known_slots_count))
        found = index.candidates(query, slots[:known_count], count)
        if found is None:
            return None
        # Left out because they were dead by then, which they were not yet to an old reader.
        left_out = index.left_out[: np.searchsorted(index.left_out, known_slots_count)]
        left_out = left_out[live[left_out]]
        left_out = left_out[are_in(slots, left_out)]
        unknown = np.concatenate([left_out, slots[known_count:]])
        near, _ = self.nearest(query, metric, unknown, count, len(live))
        slots = np.concatenate([found, near])
        return FoundByIndex(
            slots, distances(self._matrix.view()[slots], query, metric), len(unknown)
        )

    def _candidates(
        self, query: Float32s, metric: Metric, slots: Slots, count: int, slots_count: int
    ) -> Slots:
        """Drop the slots that cannot be among the nearest, by a 32-bit estimate and its error."""
        if len(slots) < GATHER_FRACTION_MAX * slots_count:
            dots = self._gathered_dots(query, slots)
        else:
            dots = (self._matrix.view(slots_count) @ query)[slots]
        squares = self._squares.view()[slots]
        target = np.dot(query, query)
        if metric is Metric.EUCLIDEAN:
            certain = np.ones(len(slots), dtype=np.bool_)
            estimates = squares - 2 * dots + target
            scale = float(squares.max()) + float(target)
        else:
            if not _has_direction(target):
                return slots
            certain = _has_direction(squares)
            # Those that are not certain count as opposite to the query: nothing is farther.
            estimates = np.ones_like(dots)
            np.divide(-dots, np.sqrt(squares) * np.sqrt(target), out=estimates, where=certain)
            scale = 1.0
        if not np.isfinite(estimates).all():
            return slots
        # Rounding once per product and per sum, in the dot product and in the squares.
        rounding = np.finfo(np.float32)
        error = 2 * self.dimensions * (float(rounding.eps) * scale + float(rounding.tiny))
        bound = np.partition(estimates, count - 1)[count - 1] + 2 * error
        near: Slots = slots[(estimates <= bound) | ~certain]
        return near

    def _gathered_dots(self, query: Float32s, slots: Slots) -> Float32s:
        matrix = self._matrix.view()
        part_rows = max(1, GATHER_BYTES // (self.dimensions * matrix.itemsize))
        buffer = np.empty((min(part_rows, len(slots)), self.dimensions), dtype=np.float32)
        dots = np.empty(len(slots), dtype=np.float32)
        for start in range(0, len(slots), part_rows):
            part = slots[start : start + part_rows]
            rows = buffer[: len(part)]
            # Slots are never out of range; without "clip" they would be checked by a copy.
            np.take(matrix, part, axis=0, out=rows, mode="clip")
            np.dot(rows, query, out=dots[start : start + part_rows])
        return dots


def _has_direction(squares: Any) -> Any:
    """Return where squared lengths are such that 32 bits tell a vector's direction."""
    return (squares >= SQUARE_MIN) & (squares <= SQUARE_MAX)


class LateInteractionColumn:
    """Several vectors per slot: all in one matrix, with the span of each slot."""

    def __init__(self, dimensions: int) -> None:
        self._matrix: GrowingArray[np.float32] = GrowingArray(np.float32, width=dimensions)
        self._starts: GrowingArray[np.int64] = GrowingArray(np.int64)
        self._lengths: GrowingArray[np.int64] = GrowingArray(np.int64)
        self.dimensions = dimensions

    def extend(self, values: Sequence[Float32s | None]) -> None:
        for value in values:
            if value is None:
                self.extend_missing(1)
                continue
            self._starts.fill(self._matrix.count, 1)
            self._matrix.extend(value)
            self._lengths.fill(len(value), 1)

    def extend_missing(self, count: int) -> None:
        self._starts.fill(self._matrix.count, count)
        self._lengths.fill(-1, count)

    def values(self, rows: Rows) -> list[Float32s | None]:
        starts = self._starts.view()[rows].tolist()
        lengths = self._lengths.view()[rows].tolist()
        matrix = self._matrix.view()
        return [
            None if length < 0 else matrix[start : start + length]
            for start, length in zip(starts, lengths, strict=True)
        ]

    def present(self, rows: Rows) -> Mask:
        return self._lengths.view()[rows] >= 0

    def nearest(self, queries: Float32s, metric: Metric, slots: Slots) -> tuple[Slots, Float32s]:
        """Return ``slots`` with the sum, over the query's vectors, of the nearest distance."""
        slots = slots[self.present(slots)]
        totals = np.zeros(len(slots), dtype=np.float32)
        for index, vectors in enumerate(self.values(slots)):
            if vectors is not None:
                nearest = [distances(vectors, query, metric).min() for query in queries]
                totals[index] = np.sum(nearest, dtype=np.float64)
        return slots, totals


class SparseColumn:
    """Weights by dimension name, held both by slot and by dimension."""

    def __init__(self) -> None:
        self._weights: list[dict[str, float] | None] = []
        self._postings: dict[str, tuple[GrowingArray[np.int64], GrowingArray[np.float64]]] = {}

    def extend(self, values: Sequence[dict[str, float] | None]) -> None:
        for value in values:
            for name, weight in (value or {}).items():
                if name not in self._postings:
                    self._postings[name] = (GrowingArray(np.int64), GrowingArray(np.float64))
                slots, weights = self._postings[name]
                # Readers count the slots, so their weights must be there first.
                weights.fill(weight, 1)
                slots.fill(len(self._weights), 1)
            self._weights.append(value)

    def extend_missing(self, count: int) -> None:
        self._weights.extend([None] * count)

    def values(self, rows: Rows) -> list[Any]:
        if isinstance(rows, slice):
            return self._weights[rows]
        return [self._weights[slot] for slot in rows.tolist()]

    def present(self, rows: Rows) -> Mask:
        return np.array([value is not None for value in self.values(rows)], dtype=np.bool_)

    def dot_products(self, query: Mapping[str, float], slots_count: int) -> Float64s:
        """Return the dot product of every slot with ``query``."""
        scores: NDArray[np.float64] = np.zeros(slots_count)
        for name, weight in query.items():
            if name in self._postings:
                slots, weights = self._postings[name]
                seen = slots.view()
                known = int(np.searchsorted(seen, slots_count))
                scores[seen[:known]] += weights.view(known) * weight
        return scores
