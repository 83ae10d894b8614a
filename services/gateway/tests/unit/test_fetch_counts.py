"""Fetches by errand are counted where those by handlers are, however many there are."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from layer_gateway.data_metrics import DataMetrics
from layer_gateway.fetch_counts import FetchCounts
from layer_gateway.http.routes import Operation
from layer_gateway.metrics import EdgeMetrics
from layer_kit.telemetry.recorders import PENDING_MAX


def test_each_fetch_is_counted_once_and_little_of_it_is_kept() -> None:
    registry = CollectorRegistry()
    edge, data = EdgeMetrics(registry), DataMetrics(registry)
    counts = FetchCounts(edge, data)
    for at in range(2 * PENDING_MAX + 5):
        namespace = f"n{at % 3}"
        counts.answered(Operation.FETCH_MANY, namespace, 200, (10, "hit"), seconds=0.5)
    assert len(edge.times(Operation.FETCH_MANY, 200).pending) == 5
    data.fetched(Operation.FETCH_MANY, "n0", "hit", ids_count=2, seconds=0.25)

    def sample(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    whole = 2 * PENDING_MAX + 5
    request = {"operation": "fetch_many", "status": "2xx"}
    assert sample("layer_http_request_seconds_count", **request) == whole
    assert sample("layer_fetch_batch_size_count", operation="batch") == whole + 1
    assert sample("layer_fetch_batch_size_sum", operation="batch") == 10 * whole + 2
    batch = {"operation": "batch", "cache_result": "hit"}
    found = [
        sample("layer_fetch_duration_seconds_count", namespace=name, **batch)
        for name in ("n0", "n1", "n2")
    ]
    assert sum(filter(None, found)) == whole + 1
    demand = [
        sample("hevlayer_cache_demand_total", namespace=name, store_kind="turbopuffer")
        for name in ("n0", "n1", "n2")
    ]
    assert demand == found
