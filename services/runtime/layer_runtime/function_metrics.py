"""Metrics of functions; README.md lists them all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from layer_kit.telemetry.metrics import BoundedLabel
from layer_runtime.application.function_registry import Status
from layer_runtime.domain.functions import FunctionId

FUNCTIONS_LABELLED_MAX: Final = 50


class FunctionMetrics(Collector):
    """The ``layer_udf_*`` families; figures are those of the last look at the database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._label = BoundedLabel(FUNCTIONS_LABELLED_MAX)
        self._statuses: Sequence[Status] = ()
        self._pushes = Counter(
            "layer_udf_pushed_batches_total",
            "Batches pushed to workers, by what became of them.",
            ["udf", "result"],
            registry=registry,
        )
        registry.register(self)

    def show(self, statuses: Sequence[Status]) -> None:
        """Replace the figures."""
        self._statuses = statuses

    def pushed(self, function_id: FunctionId, result: str) -> None:
        """Count a batch that was pushed: ``answered`` or ``failed``."""
        self._pushes.labels(self._label(function_id), result).inc()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Show the figures; prometheus_client calls this."""
        depth = GaugeMetricFamily(
            "layer_udf_queue_depth", "Items that wait or are worked on.", labels=["udf"]
        )
        stages = GaugeMetricFamily(
            "layer_udf_stage_count", "Items by state.", labels=["udf", "stage"]
        )
        rates = GaugeMetricFamily(
            "layer_udf_completed_per_minute", "Items completed lately.", labels=["udf"]
        )
        windows = GaugeMetricFamily(
            "layer_udf_window_open",
            "Whether a function with a schedule has something to do by it.",
            labels=["udf"],
        )
        summed: dict[str, list[int]] = {}
        is_open: dict[str, bool] = {}
        for status in self._statuses:
            function, one = status.function, status.figures
            counts = (
                one.pending_count,
                one.processing_count,
                one.failed_count,
                one.completed_count,
            )
            label = self._label(function.id)
            if function.spec.schedule.cron:
                is_open[label] = is_open.get(label, False) or function.is_window_open
            before = summed.get(label, [0] * len(counts))
            summed[label] = [a + b for a, b in zip(before, counts, strict=True)]
        for label, (pending, processing, failed, completed) in summed.items():
            depth.add_metric([label], pending + processing)
            stages.add_metric([label, "pending"], pending)
            stages.add_metric([label, "processing"], processing)
            stages.add_metric([label, "failed"], failed)
            rates.add_metric([label], completed)
        for label, is_one_open in is_open.items():
            windows.add_metric([label], is_one_open)
        return (depth, stages, rates, windows)
