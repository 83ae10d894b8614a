"""Events and the lines that they are kept as (docs/reference/http.md, "History").

A line is one JSON object. The same line is in the local log, in the object store and, parsed, in
every answer, so that there is one place where its form is written down: here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from layer_kit.names import Namespace

NANOSECONDS_PER_SECOND: Final = 1_000_000_000
TIME_NS_MAX: Final = 2**63 - 1


class Kind(StrEnum):
    """What happened; the value is the folder of the contract."""

    QUERY = "search-history"
    CLICK = "clickstream"


class Query(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A search, with the field names of its line."""

    timestamp: str = ""
    """Never empty in a line; derived from the nanoseconds."""
    timestamp_nanos: int
    namespace: str
    trace_id: str | None = None
    raw_query: str | None = None
    stable_as_of: int | None = None
    """Epoch milliseconds."""
    query: msgspec.Raw
    """Summary of the request, a JSON object."""
    top_result_ids: Sequence[str]
    tags: Sequence[str]


class Click(msgspec.Struct, kw_only=True, gc=False):
    """An opened result, with the field names of its line."""

    timestamp: str = ""
    timestamp_nanos: int
    trace_id: str
    namespace: str
    doc_id: str
    tags: Sequence[str]
    source: str
    served_from: str


class Event(msgspec.Struct, frozen=True, gc=False):
    """A line with what it is found by. Not tracked by the collector: there are very many."""

    time_ns: int
    trace_id: str
    document_id: str
    """Empty for a search."""
    tags: tuple[str, ...]
    line: bytes
    """Without its line break."""

    @property
    def identity(self) -> tuple[int, str]:
        """What makes a second copy of an event a copy: beside the moment its row, or its trace."""
        return self.time_ns, self.document_id or self.trace_id


class _Found(msgspec.Struct):
    timestamp_nanos: int
    namespace: str
    trace_id: str | None = None
    doc_id: str | None = None
    tags: tuple[str, ...] = ()


_encoder: Final = msgspec.json.Encoder()
_found: Final = msgspec.json.Decoder(_Found)
_query: Final = msgspec.json.Decoder(Query)
_click: Final = msgspec.json.Decoder(Click)


def to_event(value: Query | Click) -> Event:
    """Write the line of ``value``, whose timestamp is set from its nanoseconds."""
    time_ns = value.timestamp_nanos
    value.timestamp = rfc3339(time_ns)
    return Event(
        time_ns,
        value.trace_id or "",
        value.doc_id if isinstance(value, Click) else "",
        tuple(value.tags),
        _encoder.encode(value),
    )


def parse_line(line: bytes) -> tuple[Kind, Namespace, Event] | None:
    """Read a line of any origin; None when it is malformed."""
    try:
        found = _found.decode(line)
    except msgspec.DecodeError:
        return None
    if not 0 < found.timestamp_nanos <= TIME_NS_MAX:
        return None
    trace_id, row_id = found.trace_id or "", found.doc_id
    event = Event(found.timestamp_nanos, trace_id.lower(), row_id or "", found.tags, line)
    return Kind.QUERY if row_id is None else Kind.CLICK, Namespace(found.namespace), event


def query_of(event: Event) -> Query | None:
    """Return the search that ``event`` keeps; None when its line lacks something."""
    try:
        return _query.decode(event.line)
    except msgspec.DecodeError:
        return None


def click_of(event: Event) -> Click | None:
    """Return the click that ``event`` keeps; None when its line lacks something."""
    try:
        return _click.decode(event.line)
    except msgspec.DecodeError:
        return None


def rfc3339(time_ns: int) -> str:
    """Return a moment as RFC 3339 in UTC with milliseconds."""
    return _millisecond(time_ns // 1_000_000)


@functools.lru_cache(maxsize=4096)
def _millisecond(epoch_ms: int) -> str:
    seconds, milliseconds = divmod(epoch_ms, 1_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"
