"""What a worker is told by the pool that started it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import msgspec

WORKER_VARIABLE: Final = "LAYER_POOL_WORKER"
"""Set by the pool alone, so it is no setting."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a pool.

    Attributes:
        number: From 0; the same again after a restart.
        marks_fd: The memory in which the pool keeps its watermarks.
        flights_fd: The memory in which workers tell of the writes that are on their way.
        pool_address: The operations port of the pool, which sums up the metrics of all.
    """

    number: int
    marks_fd: int
    flights_fd: int
    pool_address: str

    def variables(self) -> dict[str, str]:
        """Return what to add to the environment of the process."""
        return {WORKER_VARIABLE: msgspec.json.encode(self).decode()}


def this_worker(environment: Mapping[str, str] = os.environ) -> Worker | None:
    """Return what this process is in a pool, or None when it stands alone."""
    text = environment.get(WORKER_VARIABLE)
    return None if text is None else msgspec.json.decode(text, type=Worker)
