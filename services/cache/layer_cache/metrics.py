"""The metrics of the cache, all in one place (README.md lists them)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from layer_cache.application.statistics import Figures
from layer_kit.names import Namespace
from layer_kit.telemetry.metrics import SECONDS_BUCKETS, BoundedLabel
from layer_kit.telemetry.recorders import Count, Counts, Histograms

PAYLOAD_BUCKETS: Final = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)

LINES_REMEMBERED_MAX: Final = 10_000

DOCUMENTS: Final = "documents"
"""The ``set`` of the contract's metrics: rows, however the store divides them."""

RESULTS: Final = ("hit", "partial", "miss", "bypass")
"""A lookup found all rows, some, none, or none because hits are suspended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """What is counted of one namespace: finding a line by its labels takes longer than counting."""

    lookups: Mapping[str, Count]
    rows_hit: Count
    rows_missed: Count


class CacheMetrics:
    """Counts what the servicer sees of each call."""

    def __init__(self, registry: CollectorRegistry, *, namespace_count_max: int) -> None:
        self._namespace = BoundedLabel(namespace_count_max)
        self._lookups = Counts(
            "layer_cache_lookups_total",
            "Lookups, by how much of what was asked they found.",
            ["set", "namespace", "result"],
            registry=registry,
        )
        seconds = Histograms(
            "layer_cache_lookup_duration_seconds",
            "Time to serve a lookup, over a stream or in a call.",
            ["set", "result"],
            bounds=(0.0001, *SECONDS_BUCKETS),
            registry=registry,
        )
        self._seconds = {result: seconds.of(DOCUMENTS, result) for result in RESULTS}
        self._rows = Counts(
            "layer_cache_rows_total",
            "Rows asked for, found or not.",
            ["namespace", "result"],
            registry=registry,
        )
        self._backfills = Counter(
            "layer_cache_backfills_total",
            "Rows offered after an upstream read, stored or refused.",
            ["set", "status"],
            registry=registry,
        )
        self._backfill_seconds = Histogram(
            "layer_cache_backfill_duration_seconds",
            "Time to take rows in, by whether all of them were stored.",
            ["set", "status"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._settlements = Counter(
            "layer_cache_settlements_total",
            "Fences settled; `lost` were unknown or had run out.",
            ["status"],
            registry=registry,
        )
        self._lines: dict[Namespace, _Lines] = {}
        payload = Histograms(
            "layer_cache_payload_bytes",
            "Bodies and vectors of one lookup's hits.",
            ["set", "result"],
            bounds=PAYLOAD_BUCKETS,
            registry=registry,
        )
        self._payload = {result: payload.of(DOCUMENTS, result) for result in ("hit", "partial")}

    def count_lookup(
        self,
        namespace: Namespace,
        *,
        asked: int,
        found: int,
        payload_bytes: int,
        is_suspended: bool,
        seconds: float,
    ) -> None:
        """Count one lookup of ``asked`` rows."""
        lines = self._lines.get(namespace) or self._new_lines(namespace)
        if found:
            result = "hit" if found == asked else "partial"
            lines.rows_hit.value += found
            self._payload[result].observe(payload_bytes)
        else:
            result = "bypass" if is_suspended else "miss"
        lines.lookups[result].value += 1
        self._seconds[result].observe(seconds)
        if asked > found:
            lines.rows_missed.value += asked - found

    def _new_lines(self, namespace: Namespace) -> _Lines:
        label = self._namespace(namespace)
        lookups, rows = self._lookups, self._rows
        lines = _Lines(
            lookups={result: lookups.of(DOCUMENTS, label, result) for result in RESULTS},
            rows_hit=rows.of(label, "hit"),
            rows_missed=rows.of(label, "miss"),
        )
        if len(self._lines) < LINES_REMEMBERED_MAX:
            self._lines[namespace] = lines
        return lines

    def count_backfill(self, *, stored: int, refused: int, seconds: float) -> None:
        """Count one call of many rows."""
        self._backfills.labels(DOCUMENTS, "stored").inc(stored)
        self._backfills.labels(DOCUMENTS, "refused").inc(refused)
        status = "refused" if refused else "stored"
        self._backfill_seconds.labels(DOCUMENTS, status).observe(seconds)

    def count_settlement(self, *, is_fence_lost: bool) -> None:
        self._settlements.labels("lost" if is_fence_lost else "settled").inc()


class FiguresCollector(Collector):
    """Takes the figures at each scrape, instead of keeping gauges up to date all the time."""

    def __init__(self, take: Callable[[], Figures]) -> None:
        self._take = take

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering needs no figures yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        figures = self._take()
        store = figures.store
        gauges: list[tuple[str, str, float]] = [
            (
                "entries",
                "Entries in the store, dead ones included; an estimate.",
                store.entry_count,
            ),
            ("disk_bytes", "Bytes that the store takes.", store.disk_bytes),
            ("disk_bytes_max", "The bound of layer_cache_disk_bytes.", store.disk_bytes_max),
            ("records", "Records beside the rows; an estimate.", figures.records.entry_count),
            ("records_disk_bytes", "Bytes that records take.", figures.records.disk_bytes),
            (
                "records_disk_bytes_max",
                "The bound of layer_cache_records_disk_bytes.",
                figures.records.disk_bytes_max,
            ),
            ("warm_namespaces", "Namespaces held as a whole.", figures.warm_count),
            ("warming_namespaces", "Namespaces being brought in.", figures.warming_count),
            ("read_only", "Whether the store refuses writes.", store.is_read_only),
            ("connected", "Whether the store can be reached.", store.is_connected),
            ("members", "Gateways with a live membership.", figures.member_count),
            ("suspended", "Whether every lookup is a miss.", figures.is_suspended),
            ("fences", "Fences that stand.", figures.fence_count),
            ("fenced_ids", "Rows under fences.", figures.fenced_ids_count),
            ("hidden_bytes", "Entries kept in memory with fences.", figures.hidden_bytes),
            ("touched_ids", "Recently written rows remembered.", figures.touched_ids_count),
        ]
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"layer_cache_{name}", text, value=float(value))
        counters: list[tuple[str, str, float]] = [
            ("refused_rows", "Rows not stored: read-only or busy.", store.refused_count),
            ("oversize_rows", "Rows too big for the store.", figures.oversize_count),
            ("connections", "Connections to a store that is far.", store.generation),
            ("fences_expired", "Fences that ran out.", figures.fences_expired_count),
            ("overlaps", "Rows dropped because two writes overlapped.", figures.overlaps_count),
            ("suspensions", "Times that hits were suspended.", figures.suspensions_count),
            ("members_gone", "Gateways declared gone.", figures.members_gone_count),
        ]
        for name, text, value in counters:
            yield CounterMetricFamily(f"layer_cache_{name}", text, value=float(value))
