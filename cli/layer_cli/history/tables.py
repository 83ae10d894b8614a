"""History as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from layer_cli.history.pages import Event


def events_text(events: Sequence[Event], *, is_clicks: bool) -> str:
    """Return a table of events."""
    return _text(_clicks(events) if is_clicks else _queries(events))


def session_text(session: Mapping[str, Any]) -> str:
    """Return the searches of a session above what was opened."""
    return _text(_queries(session["queries"])) + _text(_clicks(session["clicks"]))


def _queries(events: Sequence[Event]) -> Table:
    table = Table("time", "searched", "best rows", "tags", "trace", box=None)
    for event in events:
        table.add_row(
            event["timestamp"],
            event.get("raw_query") or "",
            " ".join(event["top_result_ids"][:3]),
            " ".join(event["tags"]),
            event.get("trace_id") or "",
        )
    return table


def _clicks(events: Sequence[Event]) -> Table:
    table = Table("time", "opened", "read as", "from", "tags", "trace", box=None)
    for event in events:
        table.add_row(
            event["timestamp"],
            event["doc_id"],
            event["source"],
            event["served_from"],
            " ".join(event["tags"]),
            event["trace_id"],
        )
    return table


def _text(table: Table) -> str:
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()
