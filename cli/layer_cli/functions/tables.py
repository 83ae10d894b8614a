"""Functions as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


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


def table_text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows below their columns."""
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*row)
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()
