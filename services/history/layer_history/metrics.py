"""The metrics of the history, all in one place (README.md lists them)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from layer_history.domain.events import Click, Query


class HistoryMetrics:
    """Counts what happens to events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "layer_history_events_total",
            "Events taken in and made durable.",
            ["kind"],
            registry=registry,
        )
        self._refused = Counter(
            "layer_history_refused_events_total",
            "Events that cannot be kept as they are, of batches whose others were.",
            registry=registry,
        )
        self._mirrored = Counter(
            "layer_history_mirror_events_total",
            "Events that the cache was to show to other replicas: stored or dropped.",
            ["result"],
            registry=registry,
        )
        self._mirror_reads = Counter(
            "layer_history_mirror_reads_total",
            "Lists that asked the cache for events of other replicas: answered or failed.",
            ["result"],
            registry=registry,
        )
        self._damages = Counter(
            "layer_history_damages_total",
            "What could not be read and was passed by: log and bundle files, segments, objects, "
            "lines.",
            ["kind"],
            registry=registry,
        )
        self._shipped = Counter(
            "layer_history_shipped_days_total",
            "Days of namespaces that got new objects.",
            registry=registry,
        )
        self._merged = Counter(
            "layer_history_merged_segments_total",
            "Segments that went into larger ones, or expired.",
            registry=registry,
        )

    def count_batch(self, values: Sequence[Query | Click], *, refused_count: int) -> None:
        queries_count = sum(isinstance(value, Query) for value in values)
        if queries_count:
            self._events.labels("query").inc(queries_count)
        if len(values) > queries_count:
            self._events.labels("click").inc(len(values) - queries_count)
        if refused_count:
            self._refused.inc(refused_count)

    def count_mirrored(self, result: Literal["stored", "dropped"], count: int) -> None:
        self._mirrored.labels(result).inc(count)

    def count_mirror_read(self, result: Literal["answered", "failed"]) -> None:
        self._mirror_reads.labels(result).inc()

    def count_damage(self, kind: str) -> None:
        self._damages.labels(kind).inc()

    def count_shipped(self, count: int) -> None:
        self._shipped.inc(count)

    def count_merged(self, count: int) -> None:
        self._merged.inc(count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How much waits, as of now."""

    disk_bytes: int
    disk_bytes_max: int
    memory_bytes: int
    bundles_count: int


class FiguresCollector(Collector):
    """Takes the figures at each scrape."""

    def __init__(self, take: Callable[[], Figures]) -> None:
        self._take = take

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering needs no figures yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        figures = self._take()
        for name, text, value in (
            ("disk_bytes", "Log and bundles that wait for the object store.", figures.disk_bytes),
            ("disk_bytes_max", "The bound of layer_history_disk_bytes.", figures.disk_bytes_max),
            ("memory_bytes", "Lines in memory that are not sealed yet.", figures.memory_bytes),
            ("bundles", "Bundles that wait for the object store.", figures.bundles_count),
        ):
            yield GaugeMetricFamily(f"layer_history_{name}", text, value=float(value))
