"""Arrays that only grow, so that readers need no lock.

A reader holds a row count and looks at no row past it. Growing copies into a larger buffer and
leaves the old one as it was, so a view that a reader took stays valid and unchanged.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

ROWS_COUNT_FIRST: Final = 16

S = TypeVar("S", bound=np.generic)


class GrowingArray(Generic[S]):
    """One writer appends; any number of readers take views."""

    def __init__(self, dtype: DTypeLike, *, width: int | None = None) -> None:
        """Start empty.

        Args:
            dtype: Of the items.
            width: Items per row of a matrix; None for a flat array.
        """
        self._width = width
        self._data: NDArray[S] = np.empty(self._shape(0), dtype=dtype)
        self.count = 0

    def extend(self, values: NDArray[S]) -> None:
        needed = self.count + len(values)
        if needed > len(self._data):
            self._grow(needed)
        self._data[self.count : needed] = values
        self.count = needed

    def fill(self, value: Any, count: int) -> None:
        """Append ``value`` ``count`` times."""
        needed = self.count + count
        if needed > len(self._data):
            self._grow(needed)
        self._data[self.count : needed] = value
        self.count = needed

    def view(self, count: int | None = None) -> NDArray[S]:
        """Return the first ``count`` rows, by default all. Not to be written to."""
        return self._data[: self.count if count is None else count]

    def _grow(self, needed: int) -> None:
        capacity = max(needed, ROWS_COUNT_FIRST, len(self._data) + len(self._data) // 2)
        larger: NDArray[S] = np.empty(self._shape(capacity), dtype=self._data.dtype)
        larger[: self.count] = self._data[: self.count]
        self._data = larger

    def _shape(self, rows: int) -> tuple[int, ...]:
        return (rows,) if self._width is None else (rows, self._width)
