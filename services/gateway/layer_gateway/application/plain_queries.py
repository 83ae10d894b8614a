"""Plain queries: those that one request to the store serves, and whose rows are relayed unread.

They are most of layer's own queries, and are answered as ``querying.py`` would answer them, at a
fraction of its cost: what does not depend on the vector was worked out when the query came for the
first time, and of the answer only ids and distances are read. Whatever turns out not to be plain
after all goes on there.
"""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import structs

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.cuts import Cut
from layer_gateway.application.facts import Facts, NamespaceFacts
from layer_gateway.application.legs import Begun, leg_body
from layer_gateway.application.plans import MakePlans, Plan, blames_layer
from layer_gateway.application.querying import (
    QueryRows,
    leg_of,
    may_be_continued,
    own_rank_by,
)
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller, StoreAnswer
from layer_kit.names import Namespace
from layer_wire.cursors import cursor_end, cursor_ending
from layer_wire.jsontext import ABSENT, STAND_IN, Raw, with_numbers
from layer_wire.prepared import Prepared
from layer_wire.queries import LayerQuery
from layer_wire.reserved import MARKER_ID

BODIES_MAX: Final = 2048
STATUS_OK: Final = HTTPStatus.OK.value
"""To look at a member of an enumeration is felt at every request."""

_MARKER: Final = MARKER_ID.partition(":")[0].encode() + b":"
"""Found sooner than all of it, and in next to no other text."""
_UNDERSCORE: Final = b"_"


class _Row(msgspec.Struct, gc=False):
    id: Annotated[int, msgspec.Meta(ge=0)] | str
    vector: msgspec.UnsetType = msgspec.UNSET
    """Refuses to be read where there is one: such a row is not answered as it stands."""


class _Last(msgspec.Struct, gc=False):
    """A row that tells of all others whether they have vectors, where nobody asked for any."""

    id: Raw
    distance: Raw = msgspec.field(default=ABSENT, name="$dist")
    vector: msgspec.UnsetType = msgspec.UNSET


class _Rows(msgspec.Struct, gc=False):
    rows: list[Raw] = []


_ROWS: Final[msgspec.json.Decoder[_Rows]] = msgspec.json.Decoder(_Rows)
_LAST: Final[msgspec.json.Decoder[_Last]] = msgspec.json.Decoder(_Last)
_ROW: Final[msgspec.json.Decoder[_Row]] = msgspec.json.Decoder(_Row)


class PlainPage(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The rows of an answer, as the store sent them."""

    rows: list[Raw]
    next_cursor: bytes | None

    def ids(self, count: int) -> list[str | int]:
        """Return those of the first ``count`` rows."""
        return [_ROW.decode(row).id for row in self.rows[:count]]


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
        return PlainQuery(
            self.watermarks,
            self.plans.facts,
            self.query_rows,
            namespace,
            prepared,
            asked,
            before,
            after,
            cut,
            facts,
            plan,
            caller,
            asked.include_attributes is True or asked.drops_vector,
            cursor_end(asked.top_k) if may_be_continued(asked, asked.top_k) else b"",
        )


class PlainQuery(msgspec.Struct, frozen=True, eq=False):
    """How a plain query is asked, whatever its numbers, for as long as it is current.

    Attributes:
        asked: What the caller asks for, but for the list of numbers.
        before: What to send up to that list, or all of it.
        after: What to send behind it; None where there is no list.
    """

    _watermarks: Watermarks
    _all_facts: Facts
    _query_rows: QueryRows
    _namespace: Namespace
    prepared: Prepared
    asked: LayerQuery
    before: bytes
    after: bytes | None
    _cut: Cut
    _facts: NamespaceFacts
    _plan: Plan
    _caller: Caller
    _may_have_vectors: bool
    """Whether a row may have one that others have not."""
    _cursor_end: bytes
    """Of that after a full page; empty where none follows."""

    @property
    def is_current(self) -> bool:
        """Whether :meth:`PlainQueries.plain` would return the same, and ask for nothing."""
        namespace = self._namespace
        return (
            self._watermarks.cut(namespace) is self._cut
            and self._all_facts.fresh(namespace) is self._facts
        )

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
            rows = _ROWS.decode(body).rows
            count = len(rows)
            if count > asked.top_k:
                return None
            if (self._may_have_vectors or _may_hold_marker(body)) and not _are_plain(rows):
                return None
            cursor = None
            if rows:
                last = _LAST.decode(rows[-1])
                if count == asked.top_k and self._cursor_end and last.distance != ABSENT:
                    cursor = cursor_ending(last.distance, last.id, self._cursor_end)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return PlainPage(rows, cursor)

    def settle(self) -> None:
        """Remember, once a page has been answered, that the store has answered the caller."""
        self._watermarks.seen(self._namespace, self._caller)

    def go_on(
        self, answer: StoreAnswer, numbers: memoryview | None
    ) -> Coroutine[Any, Any, QueryAnswer]:
        """Carry on from an answer; errors as for ``QueryRows``."""
        begun = Begun(plan=self._plan, answer=answer)
        query = self.asked if numbers is None else _with_numbers(self.asked, numbers)
        return self._query_rows.go_on(self._namespace, query, self._cut, begun, self._caller)


def _may_hold_marker(body: bytes) -> bool:
    """Tell whether the beginning of the marker's id is in a text; most have no underscore even."""
    return _UNDERSCORE in body and _MARKER in body


def _are_plain(rows: list[Raw]) -> bool:
    """Tell whether no row is the marker.

    Raises:
        DecodeError: One has a vector, or no id.
    """
    return all(_ROW.decode(row).id != MARKER_ID for row in rows)


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
