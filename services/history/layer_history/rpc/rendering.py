"""Values to responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from layer.history.v1 import history_pb2
from layer_history.domain.events import Event, click_of, query_of
from layer_history.domain.policy import Policy, Redaction
from layer_history.rpc.parsing import SERVED_FROM, SOURCES, EventRefusal

_SOURCES: Final = {text: value for value, text in SOURCES.items()}
_SERVED_FROM: Final = {text: value for value, text in SERVED_FROM.items()}
_REDACTIONS: Final = {
    Redaction.KEEP: history_pb2.REDACTION_KEEP,
    Redaction.HASH: history_pb2.REDACTION_HASH,
    Redaction.DROP: history_pb2.REDACTION_DROP,
}


def query_events(events: Iterable[Event]) -> list[history_pb2.QueryEvent]:
    """Render searches; a line that lacks a field of one is passed by, as a malformed line is."""
    return [rendered for event in events if (rendered := _query(event)) is not None]


def click_events(events: Iterable[Event]) -> list[history_pb2.ClickEvent]:
    """Render clicks, as :func:`query_events` does searches."""
    return [rendered for event in events if (rendered := _click(event)) is not None]


def event_refusal(refusal: EventRefusal) -> history_pb2.EventRefusal:
    error = refusal.error
    return history_pb2.EventRefusal(
        position=refusal.position,
        reason=error.reason,
        field=error.metadata.get("field", "namespace"),
        message=error.message,
    )


def history_policy(policy: Policy) -> history_pb2.HistoryPolicy:
    return history_pb2.HistoryPolicy(
        query_retention_s=policy.query_retention_s,
        click_retention_s=policy.click_retention_s,
        raw_query_redaction=_REDACTIONS[policy.raw_query],
        redaction_patterns=policy.patterns,
        filter_redaction=_REDACTIONS[policy.filters],
    )


def _query(event: Event) -> history_pb2.QueryEvent | None:
    query = query_of(event)
    if query is None:
        return None
    return history_pb2.QueryEvent(
        event_time_ns=query.timestamp_nanos,
        namespace=query.namespace,
        trace_id=query.trace_id or "",
        raw_query=query.raw_query or "",
        stable_as_of_ms=query.stable_as_of,
        summary_json=bytes(query.query),
        top_result_ids=query.top_result_ids,
        tags=query.tags,
    )


def _click(event: Event) -> history_pb2.ClickEvent | None:
    click = click_of(event)
    if click is None:
        return None
    return history_pb2.ClickEvent(
        event_time_ns=click.timestamp_nanos,
        namespace=click.namespace,
        trace_id=click.trace_id,
        document_id=click.doc_id,
        tags=click.tags,
        source=_SOURCES.get(click.source, history_pb2.CLICK_SOURCE_UNSPECIFIED),
        served_from=_SERVED_FROM.get(click.served_from, history_pb2.SERVED_FROM_UNSPECIFIED),
    )
