"""Lookups, backfills of what they missed, counts and scans."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Final

from layer_cache.application.found import Found, Projection, collect
from layer_cache.application.pauses import give_way
from layer_cache.application.steps import live_rows
from layer_cache.domain.limits import (
    CHUNK_ROWS,
    IDS_PER_CALL_MAX,
    ROW_BYTES_MAX,
    SCAN_PAGE_BYTES_MAX,
    SCAN_PAGE_SIZE_DEFAULT,
    SCAN_PAGE_SIZE_MAX,
    SCAN_STEP_ROWS,
    SCAN_STEP_TESTS,
)
from layer_cache.domain.members import Members
from layer_cache.domain.order import Order
from layer_cache.domain.oversize import Oversize
from layer_cache.domain.rows import NewRows, Rows, namespace_prefix, row_keys
from layer_cache.domain.tokens import parse_token
from layer_cache.ports import RowStore
from layer_kit.clock import EpochMilliseconds, Monotonic
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace
from layer_wire.ids import canonical
from layer_wire.reserved import MARKER_ID
from layer_wire.row_filters import RowFilter

MARKER: Final = canonical(MARKER_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows are wanted. The marker row of a namespace never is: no user wrote it."""

    filter: RowFilter | None = None

    @property
    def rows_at_once(self) -> int:
        """How many rows to look at before others have their turn."""
        if self.filter is None:
            return SCAN_STEP_ROWS
        return min(SCAN_STEP_ROWS, SCAN_STEP_TESTS // self.filter.parts_count)

    def of(self, namespace: Namespace, rows: Rows) -> Rows:
        """Return those of ``rows`` that are wanted."""
        prefix = namespace_prefix(namespace)
        marker = prefix + MARKER
        marker_at = bisect_left(rows.keys, marker)
        if marker_at < len(rows) and rows.keys[marker_at] == marker:
            rows = rows.chosen(key != marker for key in rows.keys)
        if self.filter is None:
            return rows
        return rows.chosen(self.filter.matches(rows.keys, rows.bodies(), id_starts_at=len(prefix)))


EVERY_ROW: Final = Selection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Serves rows from the store and takes in rows read upstream."""

    store: RowStore
    order: Order
    members: Members
    oversize: Oversize
    clock: Monotonic
    wall_ms: EpochMilliseconds

    async def lookup(
        self, namespace: Namespace, ids: Sequence[bytes], projection: Projection
    ) -> Found:
        """Find the live rows among ``ids``; everything is a miss while hits are suspended.

        Hits end before they exceed ``LOOKUP_BYTES_MAX``; the rows after that are misses.

        Raises:
            InvalidRequestError: ``TOO_MANY_IDS``, ``ID_INVALID``.
        """
        keys = row_keys(namespace, ids, count_max=IDS_PER_CALL_MAX)
        found = self._nothing_yet()
        if found.is_suspended:
            return found
        start = 0
        while start < len(keys):
            if start:
                await give_way()
            step = keys[start : start + self.store.rows_at_once()]
            epoch = self.order.eras.epoch(namespace)
            hits = await self.store.find(step, era_min=epoch, with_vectors=projection.with_vectors)
            if self.order.eras.epoch(namespace) != epoch:
                break  # what a far store has sent meanwhile is void
            if not collect(found, start, hits, projection):
                break
            del hits  # before the next ones are read
            start += len(step)
        return found

    def lookup_now(
        self, namespace: Namespace, ids: Sequence[bytes], projection: Projection
    ) -> Found | None:
        """Do the same without a wait; None where there is one, or something is not as usual."""
        keys = row_keys(namespace, ids, count_max=IDS_PER_CALL_MAX)
        if len(keys) > self.store.rows_at_once():
            return None
        found = self._nothing_yet()
        if not found.is_suspended:
            hits = self.store.find_now(
                keys,
                era_min=self.order.eras.epoch(namespace),
                with_vectors=projection.with_vectors,
            )
            if hits is None:
                return None
            collect(found, 0, hits, projection)
        return found

    def _nothing_yet(self) -> Found:
        """Begin a lookup with its token, which must not be younger than any read of its rows."""
        now_s = self.clock()
        return Found(self.order.token_bytes(now_s), self.members.is_suspended(now_s))

    async def backfill(
        self,
        namespace: Namespace,
        read_token: bytes,
        ids: Sequence[bytes],
        bodies: Sequence[bytes],
        vectors_of_each: Sequence[bytes],
    ) -> int:
        """Store rows that were read upstream, except those that may be outdated; return how many.

        Raises:
            InvalidRequestError: ``TOO_MANY_IDS``, ``ID_INVALID``, ``READ_TOKEN_INVALID``.
        """
        keys = row_keys(namespace, ids, count_max=IDS_PER_CALL_MAX)
        token = parse_token(read_token)
        written_ms = self.wall_ms()
        stored_count = 0
        rows = NewRows(keys, bodies, vectors_of_each)
        if _longest(bodies) + _longest(vectors_of_each) > ROW_BYTES_MAX:
            rows = rows.chosen(not refused for refused in map(self.oversize.refuses, *rows[1:]))
        for start in range(0, len(rows.keys), CHUNK_ROWS):
            if start:
                await give_way()
            if not self.order.is_valid(token, namespace, self.clock()):
                break
            chunk = rows.part(start, CHUNK_ROWS)
            if not self.order.admits_all(token):
                chunk = chunk.chosen(self.order.admits(token, key) for key in chunk.keys)
            era = self.order.eras.current
            stored_count += await self.store.put_new(chunk, era=era, written_ms=written_ms)
        return stored_count

    async def count(self, namespace: Namespace, selection: Selection = EVERY_ROW) -> int:
        """Count the live rows of ``namespace``; takes time in proportion to them.

        Raises:
            UnavailableError: ``HITS_SUSPENDED``.
            UnsupportedError: ``FILTER_UNSUPPORTED``.
        """
        total = 0
        async for rows in self._chosen(namespace, selection):
            total += len(rows)
        return total

    async def scan(
        self,
        namespace: Namespace,
        *,
        page_size: int,
        projection: Projection,
        selection: Selection = EVERY_ROW,
    ) -> AsyncIterator[tuple[list[bytes], list[bytes]]]:
        """Yield pages of ids and bodies in order of id, or of ids alone where only they are wanted.

        ``page_size`` 0 means the default; one above the bound is cut. A page also ends early
        when its bodies reach ``SCAN_PAGE_BYTES_MAX``.

        Raises:
            UnavailableError: ``HITS_SUSPENDED``, possibly after some pages.
            UnsupportedError: ``FILTER_UNSUPPORTED``, possibly after some pages.
        """
        default = SCAN_PAGE_SIZE_MAX if projection.ids_only else SCAN_PAGE_SIZE_DEFAULT
        size = min(page_size or default, SCAN_PAGE_SIZE_MAX)
        ids: list[bytes] = []
        bodies: list[bytes] = []
        page_bytes = 0
        async for rows in self._chosen(namespace, selection, count_max=min(size, SCAN_STEP_ROWS)):
            more_ids, more_bodies = _columns(namespace, rows, projection)
            del rows  # see live_rows
            ids += more_ids
            bodies += more_bodies
            page_bytes += sum(map(len, more_bodies))
            while len(ids) >= size or page_bytes >= SCAN_PAGE_BYTES_MAX:
                end = _page_end(bodies, size) if page_bytes >= SCAN_PAGE_BYTES_MAX else size
                yield ids[:end], bodies[:end]
                page_bytes -= sum(map(len, bodies[:end]))
                del ids[:end], bodies[:end]
        if ids:
            yield ids, bodies

    async def _chosen(
        self, namespace: Namespace, selection: Selection, *, count_max: int = SCAN_STEP_ROWS
    ) -> AsyncIterator[Rows]:
        """Yield the live rows that ``selection`` keeps, step by step."""
        step = min(count_max, selection.rows_at_once)
        async for rows in live_rows(self.store, self.order.eras, namespace, count_max=step):
            if self.members.is_suspended(self.clock()):
                raise UnavailableError(
                    "HITS_SUSPENDED",
                    "A gateway is out of reach of the cache; read from upstream instead.",
                )
            chosen = selection.of(namespace, rows)
            del rows  # see live_rows
            yield chosen
            del chosen


def _columns(
    namespace: Namespace, rows: Rows, projection: Projection
) -> tuple[list[bytes], list[bytes]]:
    """Return the ids and the wanted parts of rows, without those whose body is damaged."""
    id_starts_at = len(namespace_prefix(namespace))
    if projection.ids_only:
        return list(map(itemgetter(slice(id_starts_at, None)), rows.keys)), []
    found = [
        (key[id_starts_at:], part)
        for key, body in rows
        if (part := projection.of(body)) is not None
    ]
    return [row_id for row_id, _ in found], [part for _, part in found]


def _page_end(bodies: Sequence[bytes], count_max: int) -> int:
    """Return how many of ``bodies`` make up one page."""
    sizes = accumulate(map(len, bodies[:count_max]))
    return next(
        (count for count, total in enumerate(sizes, 1) if total >= SCAN_PAGE_BYTES_MAX),
        min(count_max, len(bodies)),
    )


def _longest(texts: Sequence[bytes]) -> int:
    return max(map(len, texts)) if any(texts) else 0
