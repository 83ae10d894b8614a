"""How many distinct values there are, told from a sketch of up to 256 KiB."""

from __future__ import annotations

from typing import Final

from datasketches import update_theta_sketch

LOG2_RETAINED: Final = 14
"""Exact up to 16,384 values; beyond, a standard error of 0.8 %: an estimate is within 2.4 % of the
truth in 99.7 of 100 cases."""


class DistinctEstimate:
    """Estimates a number of distinct values by a theta sketch.

    It tells the same of the same values in whatever order they came, as HyperLogLog does not: what
    is estimated here may be hashed as a part of what was counted.
    """

    def __init__(self) -> None:
        self._sketch = update_theta_sketch(LOG2_RETAINED)

    def add(self, value: str) -> None:
        # An empty text would leave the sketch as it was; a lone null byte counts as the same.
        self._sketch.update(value or "\0")

    @property
    def count(self) -> int:
        self._sketch.trim()  # to its smallest hashes, which no order changes
        return round(float(self._sketch.get_estimate()))
