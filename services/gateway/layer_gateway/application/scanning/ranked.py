"""Reading what a ranking of the store's selects: rows with words of a text, rows within a distance.

A ranking returns 10,000 rows at most. A part of the namespace from which so many came is
*saturated*: what was read of it is a lower bound. An exhaustive scan then divides it at the middle
one of the ids that it has seen, and asks for either half, until every answer is short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from layer_gateway.application.legs import all_of
from layer_gateway.application.plans import Plan
from layer_gateway.application.scanning.pages import Taking, names_of, page_of, read_rows
from layer_gateway.application.scanning.store_reads import BY_ID, Question, StoreReads
from layer_gateway.domain.tokens import ENGLISH_STOP_WORDS, search_tokens
from layer_kit.errors import InvalidRequestError
from layer_wire import filters
from layer_wire.filters import Filter
from layer_wire.ids import JsonId
from layer_wire.jsontext import Raw, RawObject, raw
from layer_wire.queries import UPSTREAM_ROWS_MAX
from layer_wire.ranking import id_order, rank_value
from layer_wire.reserved import MARKER_ID
from layer_wire.rows import row_id
from layer_wire.scans import DistanceSelector, HybridSelector, Selector, TextSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One ranking of a selector."""

    rank_by: Raw
    added: Filter | None = None
    radius: float = math.inf
    """Rows farther away than this are not meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """Ids of one part, and those among them that were taken in."""

    number: int
    part: Filter | None
    after: JsonId | None = None
    until: JsonId | None = None
    taken: frozenset[JsonId] = frozenset()

    @property
    def filter(self) -> Filter | None:
        low = None if self.after is None else filters.after_id(raw(self.after))
        high = None if self.until is None else filters.until_id(raw(self.until))
        return filters.both(low, high)


def legs_of(selector: Selector) -> Sequence[Leg]:
    """Return the rankings whose rows together are those of a selector.

    Raises:
        InvalidRequestError: ``TEXT_WITHOUT_TOKENS``.
    """
    match selector:
        case TextSelector():
            return [Leg(rank_by=raw([selector.field, "BM25", selector.query]))]
        case DistanceSelector():
            by_distance = raw([selector.field, "ANN", selector.vector])
            return [Leg(rank_by=by_distance, radius=selector.radius)]
        case HybridSelector():
            return _hybrid_legs(selector)


def _hybrid_legs(selector: HybridSelector) -> Sequence[Leg]:
    found = search_tokens(selector.query, ENGLISH_STOP_WORDS)
    if not found.tokens and not found.are_all_stopped:
        raise InvalidRequestError(
            "TEXT_WITHOUT_TOKENS",
            "hybrid_text.query has no word of 2 characters or more to look for.",
            field="hybrid_text.query",
        )
    alike = [
        Leg(rank_by=BY_ID, added=filters.fuzzy(selector.field, token, selector.edits_max))
        for token in found.tokens
    ]
    return [Leg(rank_by=raw([selector.field, "BM25", selector.query])), *alike]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRanked:
    """Reads every row that a selector selects, as far as the store returns them."""

    async def __call__(
        self, reads: StoreReads, plan: Plan, taking: Taking, saturated: set[int]
    ) -> None:
        """Hand all rows over to ``taking``, each once.

        ``saturated`` holds at any time the parts from which there was more than could be read.

        Raises:
            InvalidRequestError: ``TEXT_WITHOUT_TOKENS``.
            RefusedError: When the store refuses.
            LayerError: The store's own.
        """
        assert reads.request.scan.selector is not None, "it is what is read by"
        legs = legs_of(reads.request.scan.selector)
        saturated.clear()
        parts = plan.parts if plan.scatter_count > 1 else [plan.unmarked]
        ranges = [_Range(number=number, part=part) for number, part in enumerate(parts)]
        run = _Run(reads=reads, plan=plan, taking=taking, legs=legs, saturated=saturated)
        await all_of(run.read(one) for one in ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    reads: StoreReads
    plan: Plan
    taking: Taking
    legs: Sequence[Leg]
    saturated: set[int]

    async def read(self, asked: _Range) -> None:
        """Read one part, or as much of it as the store returns."""
        is_whole = await self._read(asked)
        if is_whole:
            self.saturated.discard(asked.number)

    async def _read(self, asked: _Range) -> bool:
        """Read a range; tell whether all of it was read."""
        answers = await all_of(self._ask(leg, asked) for leg in self.legs)
        found: dict[JsonId, RawObject] = {}
        full: list[JsonId] = []
        for leg, rows in zip(self.legs, answers, strict=True):
            near = [row for row in rows if leg.radius == math.inf or _is_within(row, leg.radius)]
            ids = [row_id(row) for row in near]
            found.update(zip(ids, near, strict=True))
            if len(near) == UPSTREAM_ROWS_MAX:
                full = ids
        new = [row for id_, row in found.items() if id_ not in asked.taken and id_ != MARKER_ID]
        self.taking.take(asked.number, page_of(new, self.taking.field))
        if not full:
            return True
        self.saturated.add(asked.number)
        if not self.reads.request.scan.is_exhaustive or self._is_by_distance:
            return False
        middle = sorted(full, key=id_order)[(len(full) - 1) // 2]
        taken = asked.taken | found.keys()
        halves = await all_of(
            self._read(half)
            for half in (
                replace(asked, until=middle, taken=taken),
                replace(asked, after=middle, taken=taken),
            )
        )
        return all(halves)

    async def _ask(self, leg: Leg, asked: _Range) -> list[RawObject]:
        question = Question(
            rank_by=leg.rank_by,
            names=names_of(self.taking.field),
            first=asked.filter,
            added=leg.added,
            part=asked.part,
        )
        return read_rows(await self.reads.ask(self.plan, question))

    @property
    def _is_by_distance(self) -> bool:
        return isinstance(self.reads.request.scan.selector, DistanceSelector)


def _is_within(row: RawObject, radius: float) -> bool:
    return rank_value(row) <= radius
