"""The catalogue of metrics: one table, which the metrics that this service defines are tested
against (docs/reference/http.md, "Metrics").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from layer_gateway.domain.metric_table import METRICS
from layer_gateway.domain.metrics import Family, Metric
from layer_kit.errors import InvalidRequestError, NotFoundError

SHOWN_ON_REQUEST: Final = frozenset({Family.UDF, Family.COST, Family.LICENSE})
"""Families that clients of layer do not know: left out of a list that names none."""


class UnknownFamilyError(InvalidRequestError):
    """A family that is none."""

    http_status = 400
    http_error = "invalid_family"


def metrics_of(family: str | None) -> Sequence[Metric]:
    """Return the metrics of a family, by name; of those that clients know for None.

    Raises:
        UnknownFamilyError: ``FAMILY_UNKNOWN``.
    """
    if family is None:
        return [metric for metric in METRICS if metric.family not in SHOWN_ON_REQUEST]
    if family not in {known.value for known in Family}:
        raise UnknownFamilyError(
            "FAMILY_UNKNOWN",
            f"There is no family {family!r}; there are {', '.join(f.value for f in Family)}.",
            family=family,
        )
    return [metric for metric in METRICS if metric.family.value == family]


def metric_named(name: str) -> Metric:
    """Return a metric of any family.

    Raises:
        NotFoundError: ``METRIC_NOT_FOUND``.
    """
    for metric in METRICS:
        if metric.name == name:
            return metric
    raise NotFoundError("METRIC_NOT_FOUND", f"The catalogue has no metric {name!r}.", name=name)
