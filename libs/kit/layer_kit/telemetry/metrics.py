"""Prometheus metrics: one registry per process, shared buckets, bounded labels."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

Exposition = Callable[[], Awaitable[bytes]]
"""Renders metrics in the text format of ``CONTENT_TYPE``."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OVERFLOW_LABEL: Final = "other"


def new_registry() -> CollectorRegistry:
    """Return a registry that already holds the process's own memory, CPU and file metrics."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def exposition_of(registry: CollectorRegistry) -> Exposition:
    """Return what renders the metrics of this process."""

    async def exposition() -> bytes:
        return generate_latest(registry)

    return exposition


class BoundedLabel:
    """Lets the first ``count_max`` distinct values through and folds the rest into ``other``.

    Namespaces are chosen by callers; without a cap a scan of random names would grow the
    registry, and the bill of whoever scrapes it, without end.
    """

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) < self._count_max:
            self._seen.add(value)
            return value
        return OVERFLOW_LABEL
