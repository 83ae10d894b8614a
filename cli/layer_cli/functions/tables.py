"""Functions as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from layer_cli.tables import table_text


def status_row(status: Mapping[str, Any]) -> list[str]:
    """Return the cells of a function but its pause."""
    return [
        status["udf_id"],
        str(status["pending_count"]),
        str(status["processing_count"]),
        str(status["failed_count"]),
        str(status["discovery"]["sweeps_completed"]),
        f"{status['indexed_rate_per_min']:.0f}",
    ]


def functions_text(statuses: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of functions."""
    columns = ("UDF", "PAUSED", "PENDING", "RUNNING", "FAILED", "SWEEPS", "RATE/MIN")
    rows = []
    for status in statuses:
        name, *rest = status_row(status)
        rows.append([name, "yes" if status["paused"] else "no", *rest])
    return table_text(columns, rows)
