"""Metrics of the data plane, under the names of the contract (domain/metric_table.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from layer_gateway.domain.metric_catalogue import metric_named
from layer_gateway.http.routes import Operation
from layer_gateway.metrics import NAMESPACES_LABELLED_MAX, STORE_KIND
from layer_kit.names import is_namespace
from layer_kit.telemetry.metrics import OVERFLOW_LABEL, SECONDS_BUCKETS, BoundedLabel
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
        self._bounded = BoundedLabel(NAMESPACES_LABELLED_MAX)
        self._split = {
            kind: [
                self._histogram(f"layer_{kind}_{part}_seconds")
                for part in ("duration", "tpuf", "overhead")
            ]
            for kind in ("query", "upsert")
        }
        self._whole: dict[str, Sequence[Histograms]] = {
            Operation.DESCRIBE: [self._histogram("layer_head_duration_seconds")],
            Operation.LIST: [self._histogram("layer_list_duration_seconds")],
        }
        self._fetch = self._histogram("layer_fetch_duration_seconds")
        self._fetched = self._histogram("layer_fetch_batch_size", BATCH_BUCKETS[:4])
        self._upserted = self._histogram("layer_upsert_batch_size", BATCH_BUCKETS)
        self._shapes = self._counter("layer_query_shape_total")
        self._demand = self._counter("hevlayer_cache_demand_total")
        self._cold = self._counter("hevlayer_cache_cold_responses_total")
        self._written = self._counter("hevlayer_tpuf_billable_bytes_written_total")
        # Putting labels together costs more than observing, so that what was found is kept, for as
        # many namespaces as are told apart.
        self._finished_found: dict[tuple[str, str, str], Sequence[Distribution]] = {}
        self._shapes_found: dict[tuple[str, str, bool, bool], Count] = {}
        self._fetches_found: dict[
            tuple[str, str, str | None], tuple[Count, Distribution, Distribution]
        ] = {}

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
        found = self._finished_found.get((operation, namespace, status))
        if found is None:
            found = self._find_finished(operation, namespace, status)
        overhead_s = seconds - upstream_s if upstream_s < seconds else 0.0
        for times, value in zip(found, (seconds, upstream_s, overhead_s), strict=False):
            times.observe(value)

    def queried(self, namespace: str, status: str, *, has_filter: bool, has_rank_by: bool) -> None:
        """Count the shape of a query."""
        key = (namespace, status, has_filter, has_rank_by)
        found = self._shapes_found.get(key)
        if found is None:
            found = self.query_shapes(
                namespace, status, has_filter=has_filter, has_rank_by=has_rank_by
            )
            if self._label(namespace) == namespace:
                self._shapes_found[key] = found
        found.add()

    def query_distributions(
        self, operation: str, namespace: str, status: str
    ) -> Sequence[Distribution]:
        """Return where the times of queries go: all of them, those upstream, and what is left."""
        return self._find_finished(operation, namespace, status)

    def query_shapes(
        self, namespace: str, status: str, *, has_filter: bool, has_rank_by: bool
    ) -> Count:
        """Return where queries of a shape are counted."""
        flags = (str(has_filter).lower(), str(has_rank_by).lower())
        return self._shapes.of(DIRECT, self._label(namespace), *flags, status)

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
        key = (operation, namespace, result)
        found = self._fetches_found.get(key)
        if found is None:
            found = self.fetch_places(*key)
        demand, times, sizes = found
        demand.value += 1
        times.observe(seconds)
        sizes.observe(ids_count)

    def fetch_places(
        self, operation: str, namespace: str, result: str | None
    ) -> tuple[Count, Distribution, Distribution]:
        """Return where fetches are counted: how many there are, their times, their sizes."""
        label, kind = self._label(namespace), _FETCHES[operation]
        outcome = "bypass" if result is None else _CACHE_RESULTS[result]
        found = (
            self._demand.of(label, STORE_KIND),
            self._fetch.of(kind, label, outcome),
            self._fetched.of(kind),
        )
        if label == namespace:
            self._fetches_found[operation, namespace, result] = found
        return found

    def refused_cold(self, namespace: str) -> None:
        """Count a request that only the cache could have served, and that it could not."""
        label = self._label(namespace)
        self._demand.of(label, STORE_KIND).add()
        self._cold.of(label, STORE_KIND).add()

    def _label(self, namespace: str) -> str:
        """Return how a namespace is labelled; it may be a name that was refused, or none at all."""
        return (
            self._bounded(namespace) if not namespace or is_namespace(namespace) else OVERFLOW_LABEL
        )

    def _find_finished(self, operation: str, namespace: str, status: str) -> Sequence[Distribution]:
        """Return where the times of a request go: all of it, that upstream, and what is left."""
        label = self._label(namespace)
        kinds: Sequence[Histograms]
        if operation in _QUERIES:
            kinds = self._split["query"]
        elif operation == Operation.WRITE:
            kinds = self._split["upsert"]
        else:
            kinds = self._whole.get(operation, ())
        found = [kind.of(DIRECT, label, status) for kind in kinds]
        if label == namespace:
            self._finished_found[operation, namespace, status] = found
        return found

    def _histogram(self, name: str, bounds: tuple[float, ...] = SECONDS_BUCKETS) -> Histograms:
        told = metric_named(name)
        return Histograms(
            name, told.description, told.labels, bounds=bounds, registry=self._registry
        )

    def _counter(self, name: str) -> Counts:
        told = metric_named(name)
        return Counts(name, told.description, told.labels, registry=self._registry)
