"""Metrics of the calls to Aerospike, by the names that the contract gives them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, Histogram

from layer_cache.adapters.aerospike.breaker import Attempt, Breaker
from layer_kit.telemetry.metrics import SECONDS_BUCKETS, BoundedLabel


class OperationMetrics:
    """Times each call."""

    def __init__(self, registry: CollectorRegistry, *, set_count_max: int) -> None:
        self._set = BoundedLabel(set_count_max)
        self._seconds = Histogram(
            "layer_aerospike_op_duration_seconds",
            "Time of a call to Aerospike, waiting for a thread included.",
            ["operation", "set", "status"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._inflight = Gauge(
            "layer_aerospike_inflight", "Calls to Aerospike under way.", registry=registry
        )
        self._state = Gauge(
            "layer_aerospike_connection_state",
            "1 for the state that the connection is in.",
            ["state"],
            registry=registry,
        )

    def watch(self, breaker: Breaker) -> None:
        """Show the state of a connection at each scrape."""
        self._state.labels("connected").set_function(lambda: breaker.is_closed)
        self._state.labels("failed").set_function(lambda: not breaker.is_closed)

    @contextmanager
    def measured(self, operation: str, set_name: str, attempt: Attempt) -> Iterator[None]:
        """Time the block; ``attempt`` says afterwards how it went."""
        started_s = time.perf_counter()
        self._inflight.inc()
        try:
            yield
        finally:
            self._inflight.dec()
            self._seconds.labels(operation, self._set(set_name), attempt.status).observe(
                time.perf_counter() - started_s
            )
