"""Lookups, backfills of what they missed, counts and scans."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from layer_cache.application.pauses import give_way, in_turns
from layer_cache.domain.bodies import EMPTY, project
from layer_cache.domain.limits import (
    CHUNK_ROWS,
    IDS_PER_CALL_MAX,
    LOOKUP_BYTES_MAX,
    ROW_BYTES_MAX,
    SCAN_PAGE_BYTES_MAX,
    SCAN_PAGE_SIZE_DEFAULT,
    SCAN_PAGE_SIZE_MAX,
)
from layer_cache.domain.members import Members
from layer_cache.domain.order import Order
from layer_cache.domain.rows import Entry, RowKey, namespace_prefix, row_keys
from layer_cache.domain.tokens import parse_token
from layer_cache.ports import RowStore
from layer_kit.clock import EpochMilliseconds, Monotonic
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace
from layer_wire.ids import canonical
from layer_wire.reserved import MARKER_ID
from layer_wire.row_filters import RowFilter

MARKER: Final = canonical(MARKER_ID)

Row = tuple[bytes, bytes]
"""An id and a body."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What a lookup found: parallel lists of positions, bodies and vectors."""

    positions: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    vectors: list[bytes] = field(default_factory=list)
    payload_bytes: int = 0
    read_token: bytes
    is_suspended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Which part of each row is wanted."""

    with_vectors: bool = False
    attribute_names: Sequence[str] = ()
    ids_only: bool = False

    def of(self, body: bytes) -> bytes | None:
        """Return the part of ``body`` that is wanted; None where it is no JSON object."""
        if self.ids_only:
            return EMPTY
        return project(body, self.attribute_names) if self.attribute_names else body


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows are wanted. The marker row of a namespace never is: no user wrote it."""

    filter: RowFilter | None = None

    def of(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return those of ``rows`` that are wanted."""
        rows = [row for row in rows if row[0] != MARKER]
        return rows if self.filter is None else self.filter.kept(rows)


EVERY_ROW: Final = Selection()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """Serves rows from the store and takes in rows read upstream."""

    store: RowStore
    order: Order
    members: Members
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
        now_s = self.clock()
        # The token comes first: it must not be younger than any of the reads below.
        found = Found(
            read_token=self.order.token(now_s).to_bytes(),
            is_suspended=self.members.is_suspended(now_s),
        )
        if found.is_suspended:
            return found
        for start in range(0, len(keys), CHUNK_ROWS):
            if start:
                await give_way()
            entries = await self.store.get(keys[start : start + CHUNK_ROWS])
            epoch = self.order.eras.epoch(namespace)
            alive = [
                (position, entry)
                for position, entry in enumerate(entries, start)
                if entry is not None and entry.era >= epoch
            ]
            if not _collect(found, alive, projection):
                break
        return found

    async def backfill(
        self,
        namespace: Namespace,
        read_token: bytes,
        ids: Sequence[bytes],
        bodies: Sequence[bytes],
        vectors: Sequence[bytes],
    ) -> int:
        """Store rows that were read upstream, except those that may be outdated; return how many.

        Raises:
            InvalidRequestError: ``TOO_MANY_IDS``, ``ID_INVALID``, ``READ_TOKEN_INVALID``.
        """
        keys = row_keys(namespace, ids, count_max=IDS_PER_CALL_MAX)
        token = parse_token(read_token)
        written_ms = self.wall_ms()
        stored_count = 0
        rows = dict(zip(keys, zip(bodies, vectors, strict=True), strict=True))
        if _longest(bodies) + _longest(vectors) > ROW_BYTES_MAX:
            rows = {key: row for key, row in rows.items() if sum(map(len, row)) <= ROW_BYTES_MAX}
        async for chunk in in_turns(list(rows)):
            if not self.order.is_valid(token, namespace, self.clock()):
                break
            era = self.order.eras.current
            stored_count += await self.store.put(
                [
                    (key, Entry(era, written_ms, *rows[key]))
                    for key in self.order.admitted(token, chunk)
                ]
            )
        return stored_count

    async def count(self, namespace: Namespace, selection: Selection = EVERY_ROW) -> int:
        """Count the live rows of ``namespace``; takes time in proportion to them.

        Raises:
            UnavailableError: ``HITS_SUSPENDED``.
            UnsupportedError: ``FILTER_UNSUPPORTED``.
        """
        total = 0
        async for page in self._pages(namespace, CHUNK_ROWS, selection):
            total += len(page)
        return total

    async def scan(
        self,
        namespace: Namespace,
        *,
        page_size: int,
        projection: Projection,
        selection: Selection = EVERY_ROW,
    ) -> AsyncIterator[tuple[list[bytes], list[bytes]]]:
        """Yield pages of ids and bodies in order of id.

        ``page_size`` 0 means the default; one above the bound is cut. A page also ends early
        when its bodies reach ``SCAN_PAGE_BYTES_MAX``.

        Raises:
            UnavailableError: ``HITS_SUSPENDED``, possibly after some pages.
            UnsupportedError: ``FILTER_UNSUPPORTED``, possibly after some pages.
        """
        size = min(page_size or SCAN_PAGE_SIZE_DEFAULT, SCAN_PAGE_SIZE_MAX)
        ids: list[bytes] = []
        bodies: list[bytes] = []
        page_bytes = 0
        async for chunk in self._pages(namespace, min(size, CHUNK_ROWS), selection):
            for row_id, whole in chunk:
                body = projection.of(whole)
                if body is None:
                    continue
                ids.append(row_id)
                bodies.append(body)
                page_bytes += len(body)
                if len(ids) == size or page_bytes >= SCAN_PAGE_BYTES_MAX:
                    yield ids, bodies
                    ids, bodies, page_bytes = [], [], 0
        if ids:
            yield ids, bodies

    async def _pages(
        self, namespace: Namespace, count_max: int, selection: Selection
    ) -> AsyncIterator[Sequence[Row]]:
        """Yield the live rows that ``selection`` keeps, in chunks between which others run."""
        id_starts_at = len(namespace_prefix(namespace))
        after: RowKey | None = None
        while True:
            if self.members.is_suspended(self.clock()):
                raise UnavailableError(
                    "HITS_SUSPENDED",
                    "A gateway is out of reach of the cache; read from upstream instead.",
                )
            page = await self.store.scan(namespace, after=after, count_max=count_max)
            if not page:
                return
            after = page[-1][0]
            epoch = self.order.eras.epoch(namespace)
            yield selection.of(
                [(key[id_starts_at:], body) for key, (era, _, body, _) in page if era >= epoch]
            )
            await give_way()


def _longest(texts: Sequence[bytes]) -> int:
    return max(map(len, texts), default=0)


def _collect(found: Found, rows: Sequence[tuple[int, Entry]], projection: Projection) -> bool:
    """Add rows to what was found; tell whether there was room for all of them."""
    for position, entry in rows:
        body = projection.of(entry.body)
        if body is None:
            continue
        vectors = entry.vectors if projection.with_vectors else b""
        found.payload_bytes += len(body) + len(vectors)
        if found.payload_bytes > LOOKUP_BYTES_MAX:
            return False
        found.positions.append(position)
        found.bodies.append(body)
        found.vectors.append(vectors)
    return True
