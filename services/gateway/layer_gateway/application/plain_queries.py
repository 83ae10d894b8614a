"""Plain queries: those that one request to the store serves, and whose rows are relayed unread.

They are most of layer's own queries, and are answered as ``querying.py`` would answer them, at a
fraction of its cost: what does not depend on the vector was worked out when the query came for the
first time, and of the answer only ids and distances are read. Whatever turns out not to be plain
after all goes on there.
"""

from __future__ import annotations

import functools
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
from msgspec import structs

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.cuts import Cut
from layer_gateway.application.legs import Begun, leg_body
from layer_gateway.application.plans import MakePlans, Plan, blames_layer
from layer_gateway.application.querying import (
    QueryRows,
    leg_of,
    next_cursor,
    own_rank_by,
)
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller, StoreAnswer
from layer_kit.names import Namespace
from layer_wire.jsontext import STAND_IN, Piece, Raw, with_numbers
from layer_wire.prepared import Prepared, QueryAtHand
from layer_wire.queries import LayerQuery
from layer_wire.reserved import MARKER_ID

BODIES_MAX: Final = 2048
STATUS_OK: Final = HTTPStatus.OK.value
"""To look at a member of an enumeration is felt at every request."""


class _Row(msgspec.Struct):
    id: Annotated[int, msgspec.Meta(ge=0)] | str
    distance: float | None = msgspec.field(default=None, name="$dist")
    vector: msgspec.UnsetType = msgspec.UNSET
    """Refuses to be read where there is one: such a row is not answered as it stands."""


class _Found(msgspec.Struct):
    rows: list[_Row] = []


class _Text(msgspec.Struct):
    rows: Raw = Raw(b"[]")


_FOUND: Final[msgspec.json.Decoder[_Found]] = msgspec.json.Decoder(_Found)
_ID_OF: Final = attrgetter("id")
_TEXT: Final[msgspec.json.Decoder[_Text]] = msgspec.json.Decoder(_Text)


class PlainPage(msgspec.Struct, frozen=True, eq=False):
    """The rows of an answer, as the store sent them."""

    rows: Raw
    ids: Sequence[str | int]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainQueries:
    """Begins plain queries."""

    plans: MakePlans
    watermarks: Watermarks
    query_rows: QueryRows

    def begin(self, namespace: Namespace, query: QueryAtHand, caller: Caller) -> PlainQuery | None:
        """Return what to ask the store; None where something else has to be asked before.

        Args:
            query: One that is plain by its fields.
        """
        cut = self.watermarks.cut(namespace)
        plan = self.plans.at_once(namespace, cut, caller)
        prepared = query.prepared
        if plan is None or plan.scatter_count > 1 or prepared.query is None:
            return None
        cut_ms = cut.stable_as_of_ms if cut.is_updating else None
        around = _remembered_around if prepared.is_remembered else _around_numbers
        before, after = around(prepared, plan, cut_ms)
        numbers = query.numbers
        body = (before,) if after is None or numbers is None else (before, numbers, after)
        return PlainQuery(self, namespace, query, prepared.query, body, cut, plan, caller)


class PlainQuery(msgspec.Struct, frozen=True, eq=False):
    """A plain query on its way to the store and back.

    Attributes:
        query: As it came.
        asked: What the caller asked for, but for the list of numbers.
        body: What to send, in pieces.
    """

    _queries: PlainQueries
    _namespace: Namespace
    query: QueryAtHand
    asked: LayerQuery
    body: Sequence[Piece]
    _cut: Cut
    _plan: Plan
    _caller: Caller

    @property
    def stable_as_of_ms(self) -> int | None:
        """Where the answer ends; None while nobody knows."""
        return self._cut.stable_as_of_ms

    def conclude(self, answer: StoreAnswer) -> PlainPage | QueryAnswer | None:
        """Return what the query is answered with; None where :meth:`go_on` has to find out."""
        if answer.status != STATUS_OK:
            may_be_cut = answer.status == HTTPStatus.TOO_MANY_REQUESTS
            return None if may_be_cut or blames_layer(answer) else QueryAnswer(refusal=answer)
        body, asked = answer.body, self.asked
        try:
            rows = _FOUND.decode(body).rows
            text = _TEXT.decode(body).rows
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        ids, count = list(map(_ID_OF, rows)), len(rows)
        if MARKER_ID in ids or count > asked.top_k:
            return None
        cursor = None
        if count == asked.top_k and asked.is_nearest:
            distance = rows[-1].distance
            if distance is not None:
                cursor = next_cursor(distance, ids[-1], count)
        return PlainPage(text, ids, cursor)

    def settle(self) -> None:
        """Remember, once a page has been answered, that the store has answered the caller."""
        self._queries.watermarks.seen(self._namespace, self._caller)

    def go_on(self, answer: StoreAnswer) -> Coroutine[Any, Any, QueryAnswer]:
        """Carry on from an answer; errors as for ``QueryRows``."""
        begun = Begun(plan=self._plan, answer=answer)
        query, numbers = self.asked, self.query.numbers
        if numbers is not None:
            query = _with_numbers(query, numbers)
        return self._queries.query_rows.go_on(
            self._namespace, query, self._cut, begun, self._caller
        )


def _around_numbers(
    prepared: Prepared, plan: Plan, cut_ms: int | None
) -> tuple[bytes, bytes | None]:
    """Return an upstream query up to the list of numbers in it, and what follows, if it has one.

    Args:
        cut_ms: The watermark of an index that is behind.
    """
    query = prepared.query
    assert query is not None
    cut = Cut(stable_as_of_ms=cut_ms, is_updating=cut_ms is not None)
    first_cut = plan.cuts(cut, query.consistency)[0]
    body = leg_body(leg_of(query, own_rank_by(query)), plan, first_cut, plan.unmarked)
    before, found, after = body.partition(STAND_IN)
    return before, after if found else None


_remembered_around: Final = functools.lru_cache(BODIES_MAX)(_around_numbers)
"""For what is remembered already; any other query would be kept for nothing, however long."""


def _with_numbers(query: LayerQuery, numbers: memoryview) -> LayerQuery:
    """Put a list back in the place of its stand-in."""
    changed = {
        name: with_numbers(value, numbers)
        for name in ("vector", "rank_by", "filter")
        if (value := getattr(query, name)) is not None
    }
    return structs.replace(query, **changed)
