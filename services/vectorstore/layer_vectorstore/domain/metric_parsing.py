"""Distance metrics by the names that requests give them."""

from __future__ import annotations

from typing import Final

from layer_vectorstore.domain.errors import malformed
from layer_vectorstore.domain.vectors import Metric

METRICS: Final = {
    "cosine_distance": Metric.COSINE,
    "euclidean_squared": Metric.EUCLIDEAN,
    "euclidean": Metric.EUCLIDEAN,
}


def parse_metric(named: object) -> Metric:
    """Read a metric.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
    """
    if not isinstance(named, str) or named not in METRICS:
        raise malformed(
            "distance_metric",
            f"unknown variant `{str(named)[:64]}`, "
            "expected `cosine_distance` or `euclidean_squared`",
        )
    return METRICS[named]
