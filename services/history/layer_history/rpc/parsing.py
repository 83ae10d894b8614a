"""Requests to values, checked; what is past here is not checked again."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from layer.history.v1 import history_pb2
from layer_history.application.listing import Wanted
from layer_history.domain.events import TIME_NS_MAX, Click, Query
from layer_history.domain.limits import (
    DOCUMENT_ID_BYTES_MAX,
    EVENTS_PER_BATCH_MAX,
    RAW_QUERY_LENGTH_MAX,
    SUMMARY_BYTES_MAX,
    SUMMARY_DEPTH_MAX,
    TAG_BYTES_MAX,
    TAGS_MAX,
    TOP_RESULT_IDS_MAX,
)
from layer_history.domain.policy import Policy, Redaction
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace

SOURCES: Final = {
    history_pb2.CLICK_SOURCE_SINGLE: "single",
    history_pb2.CLICK_SOURCE_BATCH: "batch",
}
SERVED_FROM: Final = {
    history_pb2.SERVED_FROM_CACHE: "cache",
    history_pb2.SERVED_FROM_UPSTREAM: "upstream",
}
REDACTIONS: Final = {
    history_pb2.REDACTION_UNSPECIFIED: Redaction.KEEP,
    history_pb2.REDACTION_KEEP: Redaction.KEEP,
    history_pb2.REDACTION_HASH: Redaction.HASH,
    history_pb2.REDACTION_DROP: Redaction.DROP,
}
_LINE_FEED: Final = ord("\n")
_CARRIAGE_RETURN: Final = ord("\r")
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
_TAG: Final = re.compile(r"[A-Za-z0-9:_\-./=+]{1,128}")
_NO_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[^][{}"]+')


class _Anything(msgspec.Struct, gc=False):
    """Any JSON object: what is unknown is checked and passed by."""


_object: Final = msgspec.json.Decoder(_Anything)


class EventRefusal(NamedTuple):
    """An event that will never be kept."""

    position: int
    error: InvalidRequestError


def parse_batch(
    request: history_pb2.AppendEventsRequest,
) -> tuple[list[Query | Click], list[EventRefusal]]:
    """Check a batch of events; return those to keep, and why the others cannot be.

    Raises:
        InvalidRequestError: ``EVENT_COUNT_INVALID``.
    """
    if not 1 <= len(request.events) <= EVENTS_PER_BATCH_MAX:
        raise InvalidRequestError(
            "EVENT_COUNT_INVALID",
            f"A batch has 1 to {EVENTS_PER_BATCH_MAX} events, not {len(request.events)}.",
            count=len(request.events),
        )
    values: list[Query | Click] = []
    refusals: list[EventRefusal] = []
    for position, event in enumerate(request.events):
        try:
            values.append(_event(event))
        except InvalidRequestError as error:
            refusals.append(EventRefusal(position, error))
    return values, refusals


def parse_wanted(
    request: history_pb2.ListQueriesRequest | history_pb2.ListClicksRequest, trace_id: str = ""
) -> Wanted:
    """Check what a page is asked for.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``, ``PAGE_TOKEN_INVALID``,
            ``TIME_RANGE_INVALID``, ``TAG_INVALID``.
    """
    if request.page_size < 0:
        raise InvalidRequestError("PAGE_SIZE_NEGATIVE", "page_size is not negative.")
    bounds = []
    if request.page_token:
        bounds.append(_page_token(request.page_token))
    if request.HasField("before_ns"):
        bounds.append(request.before_ns)
    start_ns = _moment(request.start_time) if request.HasField("start_time") else None
    end_ns = _moment(request.end_time) if request.HasField("end_time") else None
    if start_ns is not None and end_ns is not None and start_ns > end_ns:
        raise InvalidRequestError("TIME_RANGE_INVALID", "start_time is not after end_time.")
    return Wanted(
        page_size=request.page_size,
        before_ns=min(bounds, default=None),
        start_ns=start_ns,
        end_ns=end_ns,
        tags=_filter_tags(request.tags),
        trace_id=trace_id,
    )


def parse_trace_id(text: str) -> str:
    """Check a trace id; upper case is read as lower case.

    Raises:
        InvalidRequestError: ``TRACE_ID_INVALID``.
    """
    lowered = text.lower()
    if _TRACE_ID.fullmatch(lowered) is None or not lowered.strip("0"):
        raise InvalidRequestError(
            "TRACE_ID_INVALID", "trace_id is not 32 hexadecimal digits that are not all zero."
        )
    return lowered


def parse_start(request: history_pb2.GetTraceRequest) -> int | None:
    return _moment(request.start_time) if request.HasField("start_time") else None


def parse_policy(policy: history_pb2.HistoryPolicy) -> Policy:
    """Read a policy; what it says is checked where it is set."""
    return Policy(
        query_retention_s=policy.query_retention_s,
        click_retention_s=policy.click_retention_s,
        raw_query=REDACTIONS.get(policy.raw_query_redaction, Redaction.DROP),
        patterns=tuple(policy.redaction_patterns),
        filters=REDACTIONS.get(policy.filter_redaction, Redaction.DROP),
    )


def _event(event: history_pb2.Event) -> Query | Click:
    match event.WhichOneof("kind"):
        case "query":
            return _query(event.query)
        case "click":
            return _click(event.click)
        case _:
            raise _event_invalid("kind", "is not set")


def _query(event: history_pb2.QueryEvent) -> Query:
    time_ns, namespace, trace_id, tags = _shared(event)
    raw_query = event.raw_query
    if len(raw_query) > RAW_QUERY_LENGTH_MAX:
        raise _event_invalid("raw_query", f"is over {RAW_QUERY_LENGTH_MAX} characters")
    top_result_ids = event.top_result_ids[:]  # half as slow as going through them
    if len(top_result_ids) > TOP_RESULT_IDS_MAX:
        raise _event_invalid("top_result_ids", f"are more than {TOP_RESULT_IDS_MAX}")
    has_watermark = event.HasField("stable_as_of_ms")
    return Query(
        timestamp_nanos=time_ns,
        namespace=namespace,
        trace_id=trace_id or None,
        raw_query=raw_query or None,
        stable_as_of=event.stable_as_of_ms if has_watermark else None,
        query=_summary(event.summary_json),
        top_result_ids=top_result_ids,
        tags=tags,
    )


def _click(event: history_pb2.ClickEvent) -> Click:
    time_ns, namespace, trace_id, tags = _shared(event)
    if not trace_id:
        raise _event_invalid("trace_id", "is empty")
    document_id = event.document_id
    if not 1 <= len(document_id.encode()) <= DOCUMENT_ID_BYTES_MAX:
        raise _event_invalid("document_id", f"is not 1 to {DOCUMENT_ID_BYTES_MAX} bytes")
    source, served_from = SOURCES.get(event.source), SERVED_FROM.get(event.served_from)
    if source is None or served_from is None:
        raise _event_invalid("source or served_from", "is not set")
    return Click(
        timestamp_nanos=time_ns,
        trace_id=trace_id,
        namespace=namespace,
        doc_id=document_id,
        tags=tags,
        source=source,
        served_from=served_from,
    )


def _shared(
    event: history_pb2.QueryEvent | history_pb2.ClickEvent,
) -> tuple[int, Namespace, str, tuple[str, ...]]:
    time_ns, trace_id, tags = event.event_time_ns, event.trace_id, event.tags[:]
    if time_ns < 1:
        raise _event_invalid("event_time_ns", "is not set")
    if trace_id and _TRACE_ID.fullmatch(trace_id) is None:
        raise _event_invalid("trace_id", "is not 32 hexadecimal digits in lower case")
    return time_ns, parse_namespace(event.namespace), trace_id, _tags(*tags) if tags else ()


@functools.lru_cache(maxsize=4096)
def _tags(*tags: str) -> tuple[str, ...]:
    """Check the tags of an event, which are those of many others."""
    if len(tags) > TAGS_MAX or not all(map(_TAG.fullmatch, tags)):
        raise _event_invalid("tags", f"are not up to {TAGS_MAX} of {TAG_BYTES_MAX} bytes")
    return tags


def _summary(summary: bytes) -> msgspec.Raw:
    if len(summary) > SUMMARY_BYTES_MAX:
        raise _event_invalid("summary_json", f"is over {SUMMARY_BYTES_MAX} bytes")
    try:
        summary.decode()  # which the parser does not look at in what it passes by
        _object.decode(summary)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _event_invalid("summary_json", "is not a JSON object") from error
    if _depth(summary) > SUMMARY_DEPTH_MAX:
        raise _event_invalid("summary_json", f"is nested deeper than {SUMMARY_DEPTH_MAX}")
    if _LINE_FEED in summary or _CARRIAGE_RETURN in summary:  # an event is one line
        summary = msgspec.json.format(summary, indent=-1)
    return msgspec.Raw(summary)


def _depth(summary: bytes) -> int:
    """Return how deep a JSON value is nested, or a number above it that is not too deep either."""
    brackets_count = summary.count(b"[") + summary.count(b"{")
    if brackets_count <= SUMMARY_DEPTH_MAX:
        return brackets_count
    brackets = _NO_BRACKETS.sub(b"", summary)
    return max(itertools.accumulate(1 if one in b"[{" else -1 for one in brackets))


def _filter_tags(tags: Sequence[str]) -> tuple[str, ...]:
    if len(tags) > TAGS_MAX or not all(map(_TAG.fullmatch, tags)):
        raise InvalidRequestError(
            "TAG_INVALID",
            f"tags are at most {TAGS_MAX}, each 1 to {TAG_BYTES_MAX} of [A-Za-z0-9:_-./=+].",
        )
    return tuple(tags)


def _page_token(token: str) -> int:
    if not token.isascii() or not token.isdecimal() or not 0 < int(token) <= TIME_NS_MAX:
        raise InvalidRequestError("PAGE_TOKEN_INVALID", "page_token is not one of an answer.")
    return int(token)


def _moment(time: Timestamp) -> int:
    """Return nanoseconds; what a 64-bit count cannot hold is as far as it goes."""
    return max(0, min(time.seconds * 1_000_000_000 + time.nanos, TIME_NS_MAX))


def _event_invalid(field: str, why: str) -> InvalidRequestError:
    return InvalidRequestError("EVENT_INVALID", f"{field} {why}.", field=field)
