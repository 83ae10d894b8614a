"""What the database costs and how many connections are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from layer_kit.telemetry.metrics import SECONDS_BUCKETS

Sizes = Callable[[], tuple[int, int]]
"""Connections that are idle, and all of them."""


class DatabaseMetrics(Collector):
    """The ``layer_pg_*`` families."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._queries = Histogram(
            "layer_pg_query_duration_seconds",
            "Time to do something in the database, waiting for a connection included.",
            ["query_name", "status"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._pools: dict[str, Sizes] = {}
        self._waiting_count = 0
        registry.register(self)

    def watch(self, pool: str, sizes: Sizes) -> None:
        """Count the connections of a pool from now on."""
        self._pools[pool] = sizes

    def observe(self, name: str, status: str, seconds: float) -> None:
        self._queries.labels(query_name=name, status=status).observe(seconds)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count one who waits for a connection."""
        self._waiting_count += 1
        try:
            yield
        finally:
            self._waiting_count -= 1

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Count the connections as they are now; prometheus_client calls this."""
        family = GaugeMetricFamily(
            "layer_pg_pool_connections",
            "Connections to the database by state; waiting counts those who want one.",
            labels=["state"],
        )
        sizes = [read() for read in self._pools.values()]
        idle_count = sum(idle for idle, _ in sizes)
        family.add_metric(["idle"], idle_count)
        family.add_metric(["in_use"], sum(size for _, size in sizes) - idle_count)
        family.add_metric(["waiting"], self._waiting_count)
        yield family
