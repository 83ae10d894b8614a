"""Metrics of the data plane, under the names of the contract (domain/metric_table.py)."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from layer_gateway.domain.metric_catalogue import metric_named
from layer_gateway.http.routes import Operation
from layer_gateway.metrics import NAMESPACES_LABELLED_MAX, STORE_KIND
from layer_kit.telemetry.metrics import SECONDS_BUCKETS, BoundedLabel

BATCH_BUCKETS: Final = (1, 10, 100, 1000, 10_000)
DIRECT: Final = "direct"
"""The pipeline of those that come without one."""

_QUERIES: Final = frozenset({Operation.QUERY, Operation.QUERY_OLD_PATH, Operation.SEARCH})
_FETCHES: Final = {Operation.FETCH_ONE: "single", Operation.FETCH_MANY: "batch"}
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
        self._whole = {
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
        self._children: dict[tuple[str, ...], list[Histogram]] = {}
        """By kind, namespace and status: finding one by its labels costs more than observing."""
        self._shape_children: dict[tuple[str, str, bool, bool], Counter] = {}

    def finished(
        self,
        operation: Operation,
        namespace: str,
        status: str,
        *,
        seconds: float,
        upstream_s: float,
    ) -> None:
        """Count a request that was let in.

        Args:
            status: ``ok``, ``tpuf_error``, ``timeout`` or ``layer_error``.
            upstream_s: The part of ``seconds`` in which the store was waited for.
        """
        if operation in _QUERIES:
            self._observe("query", namespace, status, (seconds, upstream_s))
        elif operation is Operation.WRITE:
            self._observe("upsert", namespace, status, (seconds, upstream_s))
        elif operation in self._whole:
            labels = (DIRECT, self._label(namespace), status)
            self._whole[operation].labels(*labels).observe(seconds)

    def queried(self, namespace: str, status: str, *, has_filter: bool, has_rank_by: bool) -> None:
        """Count the shape of a query."""
        label = self._label(namespace)
        key = (label, status, has_filter, has_rank_by)
        child = self._shape_children.get(key)
        if child is None:
            flags = (str(has_filter).lower(), str(has_rank_by).lower())
            child = self._shapes.labels(DIRECT, label, *flags, status)
            self._shape_children[key] = child
        child.inc()

    def written(self, namespace: str, rows_count: int, billable_bytes: int) -> None:
        """Count what the store says it wrote."""
        label = self._label(namespace)
        self._upserted.labels(DIRECT, label).observe(rows_count)
        self._written.labels(label, STORE_KIND).inc(billable_bytes)

    def fetched(
        self,
        operation: Operation,
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
        self._demand.labels(self._label(namespace), STORE_KIND).inc()
        kind = _FETCHES[operation]
        found = "bypass" if result is None else _CACHE_RESULTS[result]
        self._fetch.labels(kind, self._label(namespace), found).observe(seconds)
        self._fetched.labels(kind).observe(ids_count)

    def refused_cold(self, namespace: str) -> None:
        """Count a request that only the cache could have served, and that it could not."""
        label = self._label(namespace)
        self._demand.labels(label, STORE_KIND).inc()
        self._cold.labels(label, STORE_KIND).inc()

    def _observe(self, kind: str, namespace: str, status: str, times: tuple[float, float]) -> None:
        label = self._label(namespace)
        key = (kind, label, status)
        children = self._children.get(key)
        if children is None:
            children = [metric.labels(DIRECT, label, status) for metric in self._split[kind]]
            self._children[key] = children
        seconds, upstream_s = times
        parts = (seconds, upstream_s, max(0.0, seconds - upstream_s))
        for child, part in zip(children, parts, strict=True):
            child.observe(part)

    def _histogram(self, name: str, buckets: tuple[float, ...] = SECONDS_BUCKETS) -> Histogram:
        told = metric_named(name)
        return Histogram(
            name, told.description, told.labels, buckets=buckets, registry=self._registry
        )

    def _counter(self, name: str) -> Counter:
        told = metric_named(name)
        return Counter(name, told.description, told.labels, registry=self._registry)
