"""Events on their way to the history service, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from layer_kit.names import Namespace
from layer_wire.jsontext import RawObject

HistoryRedaction = Literal["keep", "hash", "drop"]


class Queried(NamedTuple):
    """A query that was answered. A tuple, since one is made for every query."""

    time_ns: int
    namespace: Namespace
    trace_id: str
    tags: Sequence[str]
    raw_query: str
    stable_as_of_ms: int | None
    fields: RawObject
    """Of the body, as they came, vectors among them."""
    body_bytes: int
    """What the fields hold on to."""
    echo: Mapping[str, object]
    """What the answer told of how the query was carried out."""
    top_ids: Sequence[str | int]
    """Of the best rows, best first."""


class Clicked(NamedTuple):
    """Rows that were fetched on behalf of a trace."""

    first_ns: int
    """The moment of the first row; each further one is a nanosecond later."""
    namespace: Namespace
    trace_id: str
    tags: Sequence[str]
    rows: Sequence[tuple[str, bool]]
    """Ids, and whether the cache had the row."""
    is_batch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryWanted:
    """Which part of a namespace's history is asked for."""

    limit: int
    before_ns: int | None = None
    from_ns: int | None = None
    """Itself included, as ``to_ns``."""
    to_ns: int | None = None
    tags: Sequence[str] = ()
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Entries in the contract's form, newest first."""

    entries: list[dict[str, object]]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPolicy:
    """How long history is kept, and what is left out of it."""

    query_retention_s: int
    """0 = for ever."""
    click_retention_s: int
    raw_query: HistoryRedaction
    redaction_patterns: Sequence[str]
    filters: HistoryRedaction
