"""The catalogue of metrics, and that the metrics counted are those it tells of."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from layer_gateway.data_metrics import DataMetrics
from layer_gateway.domain.metric_catalogue import UnknownFamilyError, metric_named, metrics_of
from layer_gateway.domain.metric_table import METRICS
from layer_gateway.domain.metrics import Family
from layer_gateway.http.routes import Operation
from layer_kit.errors import NotFoundError


@pytest.fixture
def counted() -> CollectorRegistry:
    """A registry in which each metric of the data plane has counted something."""
    registry = CollectorRegistry()
    data = DataMetrics(registry)
    for operation in Operation:
        data.finished(operation, "n", "ok", seconds=0.5, upstream_s=0.4)
    data.queried("n", "ok", has_filter=True, has_rank_by=False)
    data.written("n", 3, 400)
    data.refused_cold("n")
    for operation in (Operation.FETCH_ONE, Operation.FETCH_MANY):
        for result in ("hit", "miss", "miss-on-error", None):
            data.fetched(operation, "n", result, ids_count=2, seconds=0.1)
    return registry


def test_names_are_unique_and_descriptions_are_sentences() -> None:
    names = [metric.name for metric in METRICS]
    assert names == sorted(set(names))
    assert all(metric.description.endswith(".") for metric in METRICS)
    assert all(metric.name in metric.example_promql for metric in METRICS)


def test_every_family_can_be_asked_for_and_some_only_by_name() -> None:
    found = {family.value: list(metrics_of(family.value)) for family in Family}
    assert all(found.values())
    shown = {metric.family.value for metric in metrics_of(None)}
    assert shown == found.keys() - {"udf", "cost", "license"}
    with pytest.raises(UnknownFamilyError):
        metrics_of("nope")
    with pytest.raises(NotFoundError):
        metric_named("nope")


def test_what_is_counted_has_the_kind_and_labels_of_the_catalogue(
    counted: CollectorRegistry,
) -> None:
    families = list(counted.collect())
    assert len(families) == 15
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        told = metric_named(name)
        assert family.type == told.kind
        assert family.samples, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(told.labels), name


def test_what_the_store_took_and_what_layer_took_add_up(counted: CollectorRegistry) -> None:
    labels = {"pipeline_id": "direct", "namespace": "n", "status": "ok"}
    for kind in ("query", "upsert"):
        duration, tpuf, overhead = (
            counted.get_sample_value(f"layer_{kind}_{part}_seconds_sum", labels)
            for part in ("duration", "tpuf", "overhead")
        )
        assert duration is not None
        assert tpuf is not None
        assert overhead is not None
        assert duration == pytest.approx(tpuf + overhead)


def test_names_that_no_namespace_can_have_are_told_apart_by_nobody() -> None:
    registry = CollectorRegistry()
    data = DataMetrics(registry)
    for name in ("", "n", "a b", "\0", "..", "x" * 100_000):
        data.finished(Operation.QUERY, name, "layer_error", seconds=0.5, upstream_s=0.4)
        data.queried(name, "layer_error", has_filter=False, has_rank_by=False)
        data.fetched(Operation.FETCH_ONE, name, None, ids_count=1, seconds=0.1)
        data.refused_cold(name)
        data.written(name, 1, 1)
    samples = [sample for family in registry.collect() for sample in family.samples]
    labels = {sample.labels["namespace"] for sample in samples if "namespace" in sample.labels}
    assert labels == {"", "n", "other"}
