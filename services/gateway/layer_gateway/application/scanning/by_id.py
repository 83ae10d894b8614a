"""Reading a namespace upstream from its first id to its last, in several parts at once.

Where the namespace is in shards, those are the parts. Elsewhere the first pages are read in
order, since most scans end there; what remains is divided by the shard that each row was stamped
with all the same, and the rows that have none are one more part. Which rows are in which part is
thus the store's to say, and no row is in two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from layer_gateway.application.facts import Facts
from layer_gateway.application.legs import all_of
from layer_gateway.application.plans import Plan
from layer_gateway.application.scanning.pages import Taking, names_of, read_page, without
from layer_gateway.application.scanning.store_reads import Question, StoreReads
from layer_wire import filters
from layer_wire.filters import Filter
from layer_wire.ids import JsonId
from layer_wire.jsontext import raw
from layer_wire.queries import UPSTREAM_ROWS_MAX
from layer_wire.reserved import MARKER_ID, SHARD

PAGES_IN_ORDER: Final = 4
"""Of a namespace that is not in shards, before the rest of it is read in parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    number: int
    filter: Filter | None
    has_marker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadById:
    """Reads every row that a filter selects."""

    facts: Facts

    async def __call__(self, reads: StoreReads, plan: Plan, taking: Taking) -> None:
        """Hand all rows over to ``taking``.

        Raises:
            RefusedError: When the store refuses.
            LayerError: The store's own.
        """
        if plan.scatter_count > 1:
            parts = [_Part(number=number, filter=part) for number, part in enumerate(plan.parts)]
            await _read_parts(reads, plan, taking, parts, None)
            return
        # A namespace may be initialised, and get its marker, while it is read.
        whole = _Part(number=0, filter=plan.unmarked, has_marker=True)
        in_order = PAGES_IN_ORDER if reads.throttle.threads > 1 else None
        last = await _read_part(reads, plan, taking, whole, None, pages_max=in_order)
        if last is None:
            return
        rest = await self._parts(reads) or [whole]
        await _read_parts(reads, plan, taking, rest, last)

    async def _parts(self, reads: StoreReads) -> Sequence[_Part]:
        """Divide a namespace by the shards that its rows are stamped with, if they are."""
        facts = await self.facts.get(reads.request.namespace, reads.request.caller)
        if SHARD not in facts.types or SHARD in facts.unfilterable:
            return ()
        count = facts.sharding.shard_count
        stamped = [
            _Part(number=shard + 1, filter=filters.in_shard(shard)) for shard in range(count)
        ]
        outside = _Part(number=count + 1, filter=filters.unsharded(count), has_marker=True)
        return [*stamped, outside]


async def _read_parts(
    reads: StoreReads, plan: Plan, taking: Taking, parts: Sequence[_Part], after: JsonId | None
) -> None:
    await all_of(_read_part(reads, plan, taking, part, after) for part in parts)


async def _read_part(
    reads: StoreReads,
    plan: Plan,
    taking: Taking,
    part: _Part,
    last: JsonId | None,
    *,
    pages_max: int | None = None,
) -> JsonId | None:
    """Read one part behind ``last``; return where it was left, None at its end.

    Args:
        pages_max: How many pages to read; None means all.
    """
    size, pages_count = reads.request.scan.page_size, 0
    asked_count = min(size + 1, UPSTREAM_ROWS_MAX)
    while pages_count != pages_max:
        question = Question(
            row_count=asked_count,
            names=names_of(taking.field),
            first=None if last is None else filters.after_id(raw(last)),
            part=part.filter,
        )
        page, has_more = read_page(await reads.ask(plan, question), taking.field, size)
        pages_count += 1
        if page.ids:
            last = page.ids[-1]
            taking.take(part.number, without(page, MARKER_ID) if part.has_marker else page)
        if not has_more and len(page.ids) < UPSTREAM_ROWS_MAX:
            return None
    return last
