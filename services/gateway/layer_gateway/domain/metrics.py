"""What is told of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

MetricKind = Literal["counter", "gauge", "histogram"]


class Family(Enum):
    """What a metric is about."""

    QUERY = "query"
    UPSERT = "upsert"
    FETCH = "fetch"
    CACHE = "cache"
    PIPELINE = "pipeline"
    UDF = "udf"
    STORAGE = "storage"
    SATURATION = "saturation"
    COST = "cost"
    LICENSE = "license"


@dataclass(frozen=True, slots=True)
class Alert:
    """When a metric asks for attention."""

    summary: str
    expr: str
    for_: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    kind: MetricKind
    family: Family
    labels: Sequence[str]
    description: str
    alert: Alert | None = None

    @property
    def example_promql(self) -> str:
        """Return a query to begin with."""
        match self.kind:
            case "counter":
                return f"sum(rate({self.name}[5m]))"
            case "gauge":
                return f"max({self.name})"
            case "histogram":
                return f"histogram_quantile(0.99, sum by (le) (rate({self.name}_bucket[5m])))"
