"""Metrics of pipelines; README.md lists them all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from layer_kit.telemetry.metrics import BoundedLabel
from layer_runtime.domain.pipelines import FAILED, INDEXED, Figures, Pipeline, PipelineId

PIPELINES_LABELLED_MAX: Final = 200
STAGES_LABELLED_MAX: Final = 50
STAGE_S_BUCKETS: Final = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400)


class PipelineMetrics(Collector):
    """The ``layer_pipeline_*`` and ``layer_stage_*`` families.

    Figures are those of the last look at the database, which is the same for all replicas.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._pipeline_label = BoundedLabel(PIPELINES_LABELLED_MAX)
        self._stage_label = BoundedLabel(STAGES_LABELLED_MAX)
        self._figures: Mapping[PipelineId, Figures] = {}
        self._windows: Mapping[PipelineId, bool] = {}
        self._transitions = Counter(
            "layer_stage_transitions_total",
            "Documents that moved between stages, as far as the call says from where.",
            ["from_stage", "to_stage", "status"],
            registry=registry,
        )
        self._durations = Histogram(
            "layer_stage_duration_seconds",
            "Time that documents were in a stage.",
            ["stage"],
            buckets=STAGE_S_BUCKETS,
            registry=registry,
        )
        registry.register(self)

    def moved(self, pipeline: Pipeline, from_stage: str, to_stage: str, count: int) -> None:
        if count:
            labels = self._stage_label(from_stage), self._stage_label(to_stage), "ok"
            self._transitions.labels(*labels).inc(count)

    def stayed(self, stage: str, seconds: Sequence[float]) -> None:
        durations = self._durations.labels(self._stage_label(stage))
        for one in seconds:
            durations.observe(one)

    def show(
        self, figures: Mapping[PipelineId, Figures], windows: Mapping[PipelineId, bool]
    ) -> None:
        self._figures = figures
        self._windows = windows

    def collect(self) -> Iterable[Metric]:
        """Show the figures; prometheus_client calls this."""
        stages = GaugeMetricFamily(
            "layer_pipeline_stage_count",
            "Documents by stage.",
            labels=["pipeline_id", "stage"],
        )
        indexed = CounterMetricFamily(
            "layer_pipeline_indexed", "Documents that are indexed.", labels=["pipeline_id"]
        )
        failed = CounterMetricFamily(
            "layer_pipeline_failed",
            "Documents that were given up, by why.",
            labels=["pipeline_id", "reason"],
        )
        windows = GaugeMetricFamily(
            "layer_pipeline_window_open",
            "Whether the workers of a pipeline with a schedule are to run.",
            labels=["pipeline_id"],
        )
        for pipeline_id, is_open in self._windows.items():
            windows.add_metric([self._pipeline_label(pipeline_id)], is_open)
        for pipeline_id, figures in self._figures.items():
            label = self._pipeline_label(pipeline_id)
            for stage, count in figures.stage_counts.items():
                stages.add_metric([label, stage], count)
            indexed.add_metric([label], figures.stage_counts.get(INDEXED, 0))
            for reason, count in figures.failed_reason_counts.items():
                failed.add_metric([label, reason], count)
            if not figures.stage_counts.get(FAILED):
                failed.add_metric([label, ""], 0)
        yield from (stages, indexed, failed, windows)
