"""The metrics of the snapshots, all in one place (README.md lists them)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from layer_kit.telemetry.metrics import BoundedLabel

NAMESPACES_LABELLED_MAX: Final = 5_000
STORE_KIND: Final = "turbopuffer"
BUCKETS: Final = (0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600)


class SnapshotMetrics:
    """Counts what becomes of snapshots and jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._label = BoundedLabel(NAMESPACES_LABELLED_MAX)
        self._attempts = Histogram(
            "layer_snapshot_seconds",
            "Attempts at an automatic snapshot, by how they ended.",
            ["outcome"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._jobs = Counter(
            "layer_snapshot_jobs_total",
            "Jobs that have ended, by how.",
            ["status"],
            registry=registry,
        )
        self._skipped = Counter(
            "hevlayer_snapshot_field_skipped_total",
            "Fields left out of snapshots.",
            ["namespace", "store_kind", "field", "reason"],
            registry=registry,
        )
        self._pruned = Counter(
            "hevlayer_snapshot_pruned_total",
            "Snapshots deleted since they had expired.",
            ["namespace", "store_kind"],
            registry=registry,
        )
        self._pauses = Counter(
            "layer_snapshot_pauses_total",
            "Pauses of a read through the gateway, by what went wrong.",
            ["reason"],
            registry=registry,
        )
        self._mirror = Counter(
            "layer_snapshot_mirror_failures_total",
            "Operations that the mirror in the cache did not do.",
            ["operation"],
            registry=registry,
        )

    def watch(self, waiting_count: Callable[[], int]) -> None:
        """Show how many namespaces wait, as of each scrape."""
        Gauge(
            "layer_snapshot_waiting_namespaces",
            "Namespaces whose watermark has advanced since their last snapshot.",
            registry=self._registry,
        ).set_function(waiting_count)

    def attempted(self, outcome: str, seconds: float) -> None:
        self._attempts.labels(outcome).observe(seconds)

    def job_ended(self, status: str) -> None:
        self._jobs.labels(status).inc()

    def skipped(self, namespace: str, field: str, reason: str) -> None:
        self._skipped.labels(self._label(namespace), STORE_KIND, field, reason).inc()

    def pruned(self, namespace: str, count: int) -> None:
        self._pruned.labels(self._label(namespace), STORE_KIND).inc(count)

    def paused(self, reason: str) -> None:
        self._pauses.labels(reason).inc()

    def mirror_failed(self, operation: str) -> None:
        self._mirror.labels(operation).inc()
