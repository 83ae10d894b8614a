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
from layer_gateway.application.facts import NamespaceFacts
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
from layer_wire.prepared import Prepared
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
    """Works out how plain queries are asked."""

    plans: MakePlans
    watermarks: Watermarks
    query_rows: QueryRows

    def plain(self, namespace: Namespace, prepared: Prepared, caller: Caller) -> PlainQuery | None:
        """Return how a query is asked now; None where something else has to be asked before.

        Args:
            prepared: A query that is plain by its fields.
        """
        cut = self.watermarks.cut(namespace)
        facts = self.plans.facts.known(namespace, caller)
        plan = None if facts is None else self.plans.at_once(namespace, facts, cut)
        asked = prepared.query
        if facts is None or plan is None or plan.scatter_count > 1 or asked is None:
            return None
        cut_ms = cut.stable_as_of_ms if cut.is_updating else None
        around = _remembered_around if prepared.is_remembered else _around_numbers
        before, after = around(prepared, plan, cut_ms)
        return PlainQuery(self, namespace, prepared, asked, before, after, cut, facts, plan, caller)


class PlainQuery(msgspec.Struct, frozen=True, eq=False):
    """How a plain query is asked, whatever its numbers, for as long as it is current.

    Attributes:
        asked: What the caller asks for, but for the list of numbers.
    """

    _queries: PlainQueries
    _namespace: Namespace
    prepared: Prepared
    asked: LayerQuery
    _before: bytes
    _after: bytes | None
    _cut: Cut
    _facts: NamespaceFacts
    _plan: Plan
    _caller: Caller

    @property
    def is_current(self) -> bool:
        """Whether :meth:`PlainQueries.plain` would return the same."""
        queries, namespace = self._queries, self._namespace
        return (
            queries.watermarks.cut(namespace) is self._cut
            and queries.plans.facts.known(namespace, self._caller) is self._facts
        )

    @property
    def stable_as_of_ms(self) -> int | None:
        """Where the answer ends; None while nobody knows."""
        return self._cut.stable_as_of_ms

    def body(self, numbers: memoryview | None) -> Sequence[Piece]:
        """Return what to send, in pieces."""
        before, after = self._before, self._after
        return (before,) if after is None or numbers is None else (before, numbers, after)

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

    def go_on(
        self, answer: StoreAnswer, numbers: memoryview | None
    ) -> Coroutine[Any, Any, QueryAnswer]:
        """Carry on from an answer; errors as for ``QueryRows``."""
        begun = Begun(plan=self._plan, answer=answer)
        query = self.asked if numbers is None else _with_numbers(self.asked, numbers)
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
