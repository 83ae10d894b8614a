"""Spans without the document cache, by the contract's names."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from layer_gateway.adapters.cache_metrics import CacheMetrics

NAME = "hevlayer_document_cache_cold_start"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def figures(registry: CollectorRegistry) -> tuple[float | None, ...]:
    names = (f"{NAME}s_total", f"{NAME}_active", f"{NAME}_seconds_count", f"{NAME}_seconds_sum")
    return tuple(map(registry.get_sample_value, names))


def test_a_cold_start_lasts_until_the_last_replica_is_there(registry: CollectorRegistry) -> None:
    metrics = CacheMetrics(registry)
    one, two = metrics.of(0), metrics.of(1)
    assert figures(registry) == (0, 0, 0, 0)

    one.went_away()
    one.went_away()
    two.went_away()
    assert figures(registry) == (2, 1, 0, 0)

    one.came_back(3.0)
    assert figures(registry) == (2, 1, 1, 3)
    two.came_back(7.0)
    assert figures(registry) == (2, 0, 2, 10)
