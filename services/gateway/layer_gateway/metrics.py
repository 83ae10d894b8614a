"""Metrics of the gateway's own making; README.md lists them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from layer_kit.telemetry.metrics import SECONDS_BUCKETS


class EdgeMetrics:
    """Counts and times requests at the HTTP edge."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "layer_http_request_seconds",
            "Time to answer a request at the edge, by operation and status class.",
            ["operation", "status"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._children: dict[tuple[str, int], Histogram] = {}
        """By operation and status class: finding one by its labels costs more than observing."""

    def finished(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        key = (operation, status // 100)
        child = self._children.get(key)
        if child is None:
            child = self._seconds.labels(operation=operation, status=f"{status // 100}xx")
            self._children[key] = child
        child.observe(seconds)


class WatermarkMetrics:
    """Counts looks at the indexes of namespaces."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._polls = Counter(
            "layer_watermark_polls_total",
            "Looks at the index of a namespace, by what it was: up-to-date, updating, unknown, "
            "gone, refused, late or failed.",
            ["result"],
            registry=registry,
        )

    def polled(self, result: str) -> None:
        """Count one look."""
        self._polls.labels(result=result).inc()


class HistoryMetrics:
    """Counts what becomes of events, and tells how many wait."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "layer_history_edge_events_total",
            "Searches and clicks, by what became of them.",
            ["result"],
            registry=registry,
        )
        self._queued = Gauge(
            "layer_history_edge_queued_events",
            "Events that wait in memory.",
            registry=registry,
        )
        self._spooled = Gauge(
            "layer_history_edge_spooled_bytes",
            "Batches that wait for the history service to come back.",
            registry=registry,
        )

    def watch(self, queued: Callable[[], int], spooled: Callable[[], int]) -> None:
        """Take the figures at each scrape."""
        self._queued.set_function(queued)
        self._spooled.set_function(spooled)

    def count(self, result: Literal["delivered", "refused", "dropped"], count: int) -> None:
        self._events.labels(result).inc(count)
