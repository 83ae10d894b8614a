"""History as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layer_cli.history.pages import Event
from layer_cli.tables import table_text


def events_text(events: Sequence[Event], *, is_clicks: bool) -> str:
    """Return a table of events."""
    return _clicks(events) if is_clicks else _queries(events)


def session_text(session: Mapping[str, Any]) -> str:
    """Return the searches of a session above what was opened."""
    return _queries(session["queries"]) + _clicks(session["clicks"])


def _queries(events: Sequence[Event]) -> str:
    rows = (
        (
            event["timestamp"],
            event.get("raw_query") or "",
            " ".join(event["top_result_ids"][:3]),
            " ".join(event["tags"]),
            event.get("trace_id") or "",
        )
        for event in events
    )
    return table_text(("time", "searched", "best rows", "tags", "trace"), rows)


def _clicks(events: Sequence[Event]) -> str:
    rows = (
        (
            event["timestamp"],
            event["doc_id"],
            event["source"],
            event["served_from"],
            " ".join(event["tags"]),
            event["trace_id"],
        )
        for event in events
    )
    return table_text(("time", "opened", "read as", "from", "tags", "trace"), rows)
