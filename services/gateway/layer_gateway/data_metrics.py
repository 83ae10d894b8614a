"""Metrics of the data plane, under the names of the contract (domain/metric_table.py)."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry

from layer_gateway.domain.metric_catalogue import metric_named
from layer_gateway.http.routes import Operation
from layer_gateway.metrics import NAMESPACES_LABELLED_MAX, STORE_KIND
from layer_kit.telemetry.metrics import SECONDS_BUCKETS, BoundedLabel
from layer_kit.telemetry.recorders import Count, Counts, Distribution, Histograms

BATCH_BUCKETS: Final = (1, 10, 100, 1000, 10_000)
DIRECT: Final = "direct"
"""The pipeline of those that come without one."""

_QUERIES: Final[frozenset[str]] = frozenset(
    {Operation.QUERY, Operation.QUERY_OLD_PATH, Operation.SEARCH}
)
_FETCHES: Final[dict[str, str]] = {Operation.FETCH_ONE: "single", Operation.FETCH_MANY: "batch"}
_CACHE_RESULTS: Final = {"hit": "hit", "miss": "miss", "miss-on-error": "error"}


class DataMetrics:
    """Counts what was written, queried and fetched, by namespace."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._label = BoundedLabel(NAMESPACES_LABELLED_MAX)
        self._split = {
            kind: [
                self._histogram(f"layer_{kind}_{part}_seconds")
                for part in ("duration", "tpuf", "overhead")
            ]
            for kind in ("query", "upsert")
        }
        self._whole: dict[str, Histograms] = {
            Operation.DESCRIBE: self._histogram("layer_head_duration_seconds"),
            Operation.LIST: self._histogram("layer_list_duration_seconds"),
        }
        self._fetch = self._histogram("layer_fetch_duration_seconds")
        self._fetched = self._histogram("layer_fetch_batch_size", BATCH_BUCKETS[:4])
        self._upserted = self._histogram("layer_upsert_batch_size", BATCH_BUCKETS)
        self._shapes = self._counter("layer_query_shape_total")
        self._demand = self._counter("hevlayer_cache_demand_total")
        self._cold = self._counter("hevlayer_cache_cold_responses_total")
        self._written = self._counter("hevlayer_tpuf_billable_bytes_written_total")
        self._split_found: dict[tuple[str, str, str], list[Distribution]] = {}
        """By kind, namespace and status: putting labels together costs more than observing."""
        self._shapes_found: dict[tuple[str, str, bool, bool], Count] = {}

    def finished(
        self,
        operation: str,
        namespace: str,
        status: str,
        *,
        seconds: float,
        upstream_s: float,
    ) -> None:
        """Count a request that was let in.

        Args:
            operation: One of ``Operation``.
            status: ``ok``, ``tpuf_error``, ``timeout`` or ``layer_error``.
            upstream_s: The part of ``seconds`` in which the store was waited for.
        """
        if operation in _QUERIES:
            self._observe("query", namespace, status, (seconds, upstream_s))
        elif operation == Operation.WRITE:
            self._observe("upsert", namespace, status, (seconds, upstream_s))
        elif operation in self._whole:
            labels = (DIRECT, self._label(namespace), status)
            self._whole[operation].of(*labels).observe(seconds)

    def queried(self, namespace: str, status: str, *, has_filter: bool, has_rank_by: bool) -> None:
        """Count the shape of a query."""
        label = self._label(namespace)
        key = (label, status, has_filter, has_rank_by)
        found = self._shapes_found.get(key)
        if found is None:
            flags = (str(has_filter).lower(), str(has_rank_by).lower())
            found = self._shapes_found[key] = self._shapes.of(DIRECT, label, *flags, status)
        found.add()

    def written(self, namespace: str, rows_count: int, billable_bytes: int) -> None:
        """Count what the store says it wrote."""
        label = self._label(namespace)
        self._upserted.of(DIRECT, label).observe(rows_count)
        self._written.of(label, STORE_KIND).add(billable_bytes)

    def fetched(
        self,
        operation: str,
        namespace: str,
        result: str | None,
        *,
        ids_count: int,
        seconds: float,
    ) -> None:
        """Count a fetch.

        Args:
            result: As ``x-layer-cache`` tells it; None where it did not come to a lookup.
        """
        self._demand.of(self._label(namespace), STORE_KIND).add()
        kind = _FETCHES[operation]
        found = "bypass" if result is None else _CACHE_RESULTS[result]
        self._fetch.of(kind, self._label(namespace), found).observe(seconds)
        self._fetched.of(kind).observe(ids_count)

    def refused_cold(self, namespace: str) -> None:
        """Count a request that only the cache could have served, and that it could not."""
        label = self._label(namespace)
        self._demand.of(label, STORE_KIND).add()
        self._cold.of(label, STORE_KIND).add()

    def _observe(self, kind: str, namespace: str, status: str, times: tuple[float, float]) -> None:
        label = self._label(namespace)
        key = (kind, label, status)
        found = self._split_found.get(key)
        if found is None:
            found = [metric.of(DIRECT, label, status) for metric in self._split[kind]]
            self._split_found[key] = found
        seconds, upstream_s = times
        duration, upstream, overhead = found
        duration.observe(seconds)
        upstream.observe(upstream_s)
        overhead.observe(seconds - upstream_s if upstream_s < seconds else 0.0)

    def _histogram(self, name: str, bounds: tuple[float, ...] = SECONDS_BUCKETS) -> Histograms:
        told = metric_named(name)
        return Histograms(
            name, told.description, told.labels, bounds=bounds, registry=self._registry
        )

    def _counter(self, name: str) -> Counts:
        told = metric_named(name)
        return Counts(name, told.description, told.labels, registry=self._registry)
