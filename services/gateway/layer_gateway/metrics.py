"""Metrics of the gateway's own making; README.md lists them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from layer_gateway.domain.warmth import NamespaceWarmth
from layer_gateway.ports.watching import SeenScan
from layer_kit.names import Namespace
from layer_kit.telemetry.metrics import SECONDS_BUCKETS, BoundedLabel
from layer_kit.telemetry.recorders import Distribution, Histograms

STORE_KIND: Final = "turbopuffer"
NAMESPACES_LABELLED_MAX: Final = 5000
LEGS_BUCKETS: Final = (2, 4, 8, 16)
REQUESTS_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SCAN_SECONDS_BUCKETS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
SCAN_ROWS_BUCKETS: Final = (0, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
TOKENS_BUCKETS: Final = (0, 1, 2, 4, 8, 15)


class EdgeMetrics:
    """Counts and times requests at the HTTP edge."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histograms(
            "layer_http_request_seconds",
            "Time to answer a request at the edge, by operation and status class.",
            ["operation", "status"],
            bounds=SECONDS_BUCKETS,
            registry=registry,
        )
        self._found: dict[tuple[str, int], Distribution] = {}

    def finished(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.times(operation, status).observe(seconds)

    def times(self, operation: str, status: int) -> Distribution:
        """Return where the times of requests go that end with a status."""
        key = (operation, status)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._seconds.of(operation, f"{status // 100}xx")
        return found


class WarmMetrics(Collector):
    """Counts warmings, and tells at each scrape how warm namespaces are.

    Args:
        known: Returns the states of the namespaces that are not cold.
        namespace_count_max: Namespaces told apart; others are ``other``.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        known: Callable[[], Mapping[Namespace, NamespaceWarmth]],
        *,
        namespace_count_max: int = 5000,
    ) -> None:
        self._known = known
        self._namespace = BoundedLabel(namespace_count_max)
        self._ended = Counter(
            "layer_warmings_total",
            "Namespaces brought into the cache as a whole, or not: completed, failed.",
            ["result"],
            registry=registry,
        )
        registry.register(self)

    def ended(self, result: str) -> None:
        """Count one warming."""
        self._ended.labels(result=result).inc()

    def describe(self) -> list[Metric]:
        """Return nothing, so that registering needs no states yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield a gauge that is 1 for the state that each namespace is in."""
        gauge = GaugeMetricFamily(
            "hevlayer_cache_state",
            "1 for the state of a namespace in the document cache; cold ones are left out.",
            labels=["namespace", "store_kind", "state"],
        )
        for namespace, warmth in self._known().items():
            gauge.add_metric([self._namespace(namespace), STORE_KIND, warmth.state.value], 1.0)
        yield gauge


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


class SearchMetrics:
    """Counts searches, the routes they took, and multi-queries, by namespace."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._namespace = BoundedLabel(NAMESPACES_LABELLED_MAX)
        self._searches = Counter(
            "hevlayer_hybrid_text_queries_total",
            "Searches by hybrid text, by how they ended: ok, tpuf_error, timeout, layer_error.",
            ["namespace", "store_kind", "status"],
            registry=registry,
        )
        self._tokens = Histogram(
            "hevlayer_hybrid_text_tokens",
            "Words that a search by hybrid text looks for one by one.",
            ["namespace", "store_kind"],
            buckets=TOKENS_BUCKETS,
            registry=registry,
        )
        self._routes = Counter(
            "hevlayer_query_router_decisions_total",
            "Automatic searches, by the route chosen and whether it was taken.",
            ["namespace", "store_kind", "route", "executed"],
            registry=registry,
        )

        self._multi_queries = Counter(
            "hevlayer_multi_query_total",
            "Requests of several queries, by how they ended.",
            ["namespace", "store_kind", "status"],
            registry=registry,
        )
        self._legs = Histogram(
            "hevlayer_multi_query_legs",
            "Queries in one request of several.",
            ["namespace", "store_kind"],
            buckets=LEGS_BUCKETS,
            registry=registry,
        )
        self._requests = Histogram(
            "hevlayer_multi_query_upstream_calls",
            "Requests to the store for one of several queries.",
            ["namespace", "store_kind"],
            buckets=REQUESTS_BUCKETS,
            registry=registry,
        )

    def searched(self, namespace: str, status: str, tokens_count: int | None) -> None:
        """Count one search by hybrid text."""
        labels = (self._namespace(namespace), STORE_KIND)
        self._searches.labels(*labels, status).inc()
        if tokens_count is not None:
            self._tokens.labels(*labels).observe(tokens_count)

    def asked_together(
        self, namespace: str, status: str, legs_count: int, requests_count: int | None
    ) -> None:
        """Count one multi-query."""
        labels = (self._namespace(namespace), STORE_KIND)
        self._multi_queries.labels(*labels, status).inc()
        self._legs.labels(*labels).observe(legs_count)
        if requests_count is not None:
            self._requests.labels(*labels).observe(requests_count)

    def routed(self, namespace: str, route: str, *, is_executed: bool) -> None:
        """Count one automatic search."""
        executed = "true" if is_executed else "false"
        labels = (self._namespace(namespace), STORE_KIND, route, executed)
        self._routes.labels(*labels).inc()


class ScanMetrics:
    """Counts and times scans by namespace, what was asked, and where it was read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["namespace", "store_kind", "mode", "selector", "served_by", "status"]
        self._namespace = BoundedLabel(NAMESPACES_LABELLED_MAX)
        self._scans = Counter(
            "hevlayer_scan_total",
            "Scans, by how they ended: ok, tpuf_error, timeout, layer_error.",
            labels,
            registry=registry,
        )
        self._seconds = Histogram(
            "hevlayer_scan_duration_seconds",
            "Time that scans took.",
            labels,
            buckets=SCAN_SECONDS_BUCKETS,
            registry=registry,
        )
        self._documents = Histogram(
            "hevlayer_scan_documents_scanned",
            "Rows that scans read, or that a cache or a snapshot counted for them.",
            labels,
            buckets=SCAN_ROWS_BUCKETS,
            registry=registry,
        )

    def scanned(self, seen: SeenScan) -> None:
        """Count one scan."""
        labels = (
            self._namespace(seen.namespace),
            STORE_KIND,
            seen.mode,
            seen.selector,
            seen.served_by,
            seen.status,
        )
        self._scans.labels(*labels).inc()
        self._seconds.labels(*labels).observe(seen.seconds)
        self._documents.labels(*labels).observe(seen.rows_count)


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


class TriggerMetrics:
    """Counts what becomes of writes that functions want to hear of."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._writes = Counter(
            "layer_udf_trigger_writes_total",
            "Writes that functions are triggered by, by what became of telling of them.",
            ["result"],
            registry=registry,
        )
        self._queued = Gauge(
            "layer_udf_trigger_queued_writes",
            "Writes that wait to be told of.",
            registry=registry,
        )

    def watch(self, queued: Callable[[], int]) -> None:
        """Take the figure at each scrape."""
        self._queued.set_function(queued)

    def count(self, result: Literal["delivered", "refused", "dropped"], count: int) -> None:
        self._writes.labels(result).inc(count)
