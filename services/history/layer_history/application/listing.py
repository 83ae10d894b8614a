"""Listing: pages of one kind of event, and all that belongs to one trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from layer_history.application.policies import Policies
from layer_history.application.reading import Page, Reading, Selection
from layer_history.domain.events import NANOSECONDS_PER_SECOND, TIME_NS_MAX, Event, Kind
from layer_history.domain.limits import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, TRACE_EVENTS_MAX
from layer_history.domain.names import Stream
from layer_kit.errors import NotFoundError
from layer_kit.names import Namespace
from layer_wire.traces import minted_at_s

CLOCKS_DIFFER_S: Final = 3600
"""How far the clock of whoever made a trace id may be ahead of the one that dated its events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a page is made of."""

    page_size: int = 0
    """0 = the default; what is above the maximum is cut."""
    before_ns: int | None = None
    start_ns: int | None = None
    """Itself included, as ``end_ns``."""
    end_ns: int | None = None
    tags: tuple[str, ...] = ()
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Everything of one trace, oldest first."""

    queries: list[Event]
    clicks: list[Event]
    is_truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Reads as far as policies allow."""

    reading: Reading
    policies: Policies
    now_ns: Callable[[], int]

    async def page(self, stream: Stream, wanted: Wanted) -> Page:
        """Return the newest events, newest first.

        Raises:
            UpstreamError: The object store's own.
        """
        before_ns = TIME_NS_MAX if wanted.before_ns is None else wanted.before_ns - 1
        end_ns = TIME_NS_MAX if wanted.end_ns is None else wanted.end_ns
        return await self.reading.find(
            Selection(
                stream=stream,
                limit=min(wanted.page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX),
                newest_ns=min(before_ns, end_ns),
                oldest_ns=max(self._oldest_ns(stream), wanted.start_ns or 0),
                tags=wanted.tags,
                trace_id=wanted.trace_id,
            )
        )

    async def trace(self, namespace: Namespace, trace_id: str, start_ns: int | None) -> Trace:
        """Return the searches and clicks of a trace.

        Args:
            start_ns: Only from here on; None = from when the id was made, where it tells that.

        Raises:
            NotFoundError: ``TRACE_NOT_FOUND``.
            UpstreamError: The object store's own.
        """
        hint_s = minted_at_s(trace_id) if start_ns is None else None
        hint_ns = 0 if hint_s is None else (hint_s - CLOCKS_DIFFER_S) * NANOSECONDS_PER_SECOND
        queries, clicks = await self._trace(namespace, trace_id, start_ns or hint_ns)
        if not queries.events and not clicks.events and hint_ns:
            queries, clicks = await self._trace(namespace, trace_id, 0)
        if not queries.events and not clicks.events:
            raise NotFoundError(
                "TRACE_NOT_FOUND",
                f"Namespace {namespace} has no event of trace {trace_id}.",
                namespace=namespace,
                trace_id=trace_id,
            )
        return Trace(
            queries=queries.events[::-1],
            clicks=clicks.events[::-1],
            is_truncated=(queries.before_ns or clicks.before_ns) is not None,
        )

    async def _trace(self, namespace: Namespace, trace_id: str, start_ns: int) -> tuple[Page, Page]:
        queries, clicks = await asyncio.gather(
            *(
                self.reading.find(
                    Selection(
                        stream=(stream := Stream(kind, namespace)),
                        limit=TRACE_EVENTS_MAX,
                        oldest_ns=max(self._oldest_ns(stream), start_ns),
                        trace_id=trace_id,
                    )
                )
                for kind in (Kind.QUERY, Kind.CLICK)
            )
        )
        return queries, clicks

    def _oldest_ns(self, stream: Stream) -> int:
        return self.policies.get(stream.namespace).oldest_ns(stream.kind, self.now_ns())
