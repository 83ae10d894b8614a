"""What items are handed out with: their inputs as they are at that moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import NotFoundError
from layer_runtime.application.groups import PAGES_PER_DOCUMENT_MAX, read_documents
from layer_runtime.domain.functions import Trigger
from layer_runtime.domain.items import (
    Claim,
    Claimed,
    Given,
    Page,
    Row,
    Value,
    Verdict,
    document_digest,
    input_digest,
    place_of,
)
from layer_runtime.domain.markers import STAMP, is_due, is_one_of, markers_of
from layer_runtime.ports.functions import Function
from layer_runtime.ports.rows import Rows

PAGE_SIZE: Final = 1000
TOO_LONG: Final = f"the document has more than {PAGES_PER_DOCUMENT_MAX} rows"


@dataclass(frozen=True, slots=True)
class Handed:
    """An item for its worker, and what is to be remembered of it."""

    claim: Claim
    given: Given


@dataclass(frozen=True, slots=True)
class Moved:
    """A document that was enqueued by the id of one of its rows."""

    document: str
    is_forced: bool


@dataclass(slots=True)
class Reading:
    """What was read of items; those that are in none of these need no work."""

    handed: list[Handed] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    """Of the last namespace that was read."""
    refused: list[Verdict] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadItems:
    """Reads items that were claimed together."""

    rows: Rows
    now_ms: EpochMilliseconds

    async def __call__(
        self, function: Function, namespace: str, claimed: Sequence[Claimed], found: Reading
    ) -> None:
        """Read items of one namespace.

        Raises:
            UnavailableError: ``GATEWAY_DOWN``.
        """
        found.moved = []
        try:
            if function.spec.is_grouped_by_parent:
                await self._documents(function, namespace, claimed, found)
            else:
                await self._rows(function, namespace, claimed, found)
        except NotFoundError:  # the namespace is gone, and its rows with it
            found.moved = []

    async def _rows(
        self, function: Function, namespace: str, claimed: Sequence[Claimed], found: Reading
    ) -> None:
        ids = [item.key.id for item in claimed]
        names, scalars = await self._wanted(function, namespace)
        rows = await self.rows.lookup(namespace, ids, names=names, scalars=scalars)
        doubtful = [item.key.id for item in claimed if _may_be_outside(function, item)]
        outside = await self._outside(function, namespace, doubtful)
        for item in claimed:
            row = rows.get(item.key.id)
            if row is None or row.id in outside:
                continue
            inputs = _inputs(function, row)
            digest = input_digest({k: v for k, v in inputs.items() if v is not None})
            if self._needs_work(function, item, [row], digest):
                claim = Claim(key=item.key, lease=item.lease, inputs=inputs, digest=digest)
                found.handed.append(Handed(claim, Given(item.key, stamp_of(row), digest)))

    async def _documents(
        self, function: Function, namespace: str, claimed: Sequence[Claimed], found: Reading
    ) -> None:
        names, scalars = await self._wanted(function, namespace)
        ids = [item.key.id for item in claimed]
        documents = await read_documents(self.rows, namespace, ids, names=names, scalars=scalars)
        doubtful = [
            row.id
            for item in claimed
            if _may_be_outside(function, item)
            for row in documents.rows.get(item.key.id, ())
        ]
        outside = await self._outside(function, namespace, doubtful)
        for item in claimed:
            if item.key.id in documents.moved:
                found.moved.append(Moved(documents.moved[item.key.id], item.is_forced))
            rows = documents.rows.get(item.key.id, ())
            if not rows or outside >= {row.id for row in rows}:
                continue
            if item.key.id in documents.too_long:
                found.refused.append(Verdict(item.key, item.lease, 1, None, TOO_LONG))
                continue
            pages = [page_of(function, row) for row in rows]
            digest = document_digest(pages)
            if self._needs_work(function, item, rows, digest):
                claim = Claim(key=item.key, lease=item.lease, inputs={}, digest=digest, pages=pages)
                found.handed.append(Handed(claim, Given(item.key, latest_stamp(rows), digest)))

    async def _wanted(
        self, function: Function, namespace: str
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Return the names of inputs, and of what layer keeps, that the namespace has."""
        types, markers = await self.rows.types(namespace), markers_of(function.id)
        names = [name for name in function.spec.inputs if name == "id" or name in types]
        own = (markers.version, markers.stale_after, STAMP)
        return names, [name for name in own if name in types]

    async def _outside(
        self, function: Function, namespace: str, ids: Sequence[str]
    ) -> AbstractSet[str]:
        """Return those that a write has enqueued although the function is not about them."""
        if not ids or not function.spec.filter:
            return frozenset()
        types = await self.rows.types(namespace)
        outside = set(ids)
        async for page in self.rows.stream(
            namespace,
            own_filter=function.spec.filter,
            condition=is_one_of("id", ids, types),
            page_size=PAGE_SIZE,
        ):
            outside -= {row.id for row in page}
        return outside

    def _needs_work(
        self, function: Function, item: Claimed, rows: Iterable[Row], digest: bytes
    ) -> bool:
        markers, now_ms = markers_of(function.id), self.now_ms()
        if any(
            is_due(
                function.spec.version,
                now_ms=now_ms,
                version_found=row.scalars.get(markers.version),
                stale_found=row.scalars.get(markers.stale_after),
            )
            for row in rows
        ):
            return True
        # A write of inputs leaves the marker as it is. One that changed nothing, or that is the
        # worker's own and was there when it was done, makes no work.
        return item.is_forced and digest != item.done_digest


def page_of(function: Function, row: Row) -> Page:
    """Return a row of a document as the function gets it."""
    return Page(id=row.id, place=place_of(row), inputs=_inputs(function, row))


def stamp_of(row: Row) -> int | None:
    """Return when a row was last written."""
    stamp = row.scalars.get(STAMP)
    return stamp if isinstance(stamp, int) else None


def latest_stamp(rows: Iterable[Row]) -> int | None:
    """Return when the last written of some rows was."""
    return max((stamp for row in rows if (stamp := stamp_of(row)) is not None), default=None)


def _inputs(function: Function, row: Row) -> Mapping[str, Value | None]:
    return {name: row.attributes.get(name) for name in function.spec.inputs}


def _may_be_outside(function: Function, item: Claimed) -> bool:
    return item.is_forced or Trigger.WRITE in function.spec.triggers
