"""Time as a parameter: what needs a clock takes one of these, so that tests can hold it still."""

from __future__ import annotations

import time
from collections.abc import Callable

Monotonic = Callable[[], float]
"""Seconds since an arbitrary start; never goes back. For waits and ages."""

EpochMilliseconds = Callable[[], int]
"""Wall-clock milliseconds since 1970. For stamps that leave the process."""

monotonic: Monotonic = time.monotonic


def epoch_milliseconds() -> int:
    """Return the wall clock in whole milliseconds."""
    return time.time_ns() // 1_000_000
