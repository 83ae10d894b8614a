"""Metrics of the HTTP edge."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

from layer_kit.telemetry.metrics import SECONDS_BUCKETS


class HttpMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "layer_vectorstore_request_seconds",
            "Time from a request's head to its answer.",
            ["route", "status"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    def observe(self, route: str, status: int, seconds: float) -> None:
        self._seconds.labels(route=route, status=str(status)).observe(seconds)
