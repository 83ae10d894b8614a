"""How many distinct values there are, told from a sketch of 16 KiB."""

from __future__ import annotations

from typing import Final

from datasketches import hll_sketch, tgt_hll_type

LOG2_BUCKETS: Final = 14
"""A standard error of 0.8 %; an estimate is within 2.5 % of the truth in 99.7 of 100 cases."""


class DistinctEstimate:
    """Estimates a number of distinct values by HyperLogLog."""

    def __init__(self) -> None:
        self._sketch = hll_sketch(LOG2_BUCKETS, tgt_hll_type.HLL_8)

    def add(self, value: str) -> None:
        self._sketch.update(value)

    @property
    def count(self) -> int:
        return round(float(self._sketch.get_estimate()))
