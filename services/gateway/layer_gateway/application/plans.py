"""How a namespace is to be asked, as far as that depends on what is known of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import structs

from layer_gateway.application.cuts import Cut
from layer_gateway.application.facts import Facts, NamespaceFacts
from layer_gateway.application.strong import StrongNamespaces
from layer_gateway.ports.stores import Caller, StoreAnswer
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_wire import filters
from layer_wire.filters import Filter, Written
from layer_wire.reserved import MARKER_ID, RESERVED_PREFIX, UPSERTED_AT

T = TypeVar("T")

Consistency = Literal["eventual", "strong"]

UNREADABLE: Final = frozenset({"SCHEMA_UNREADABLE", "MARKER_UNREADABLE"})
PLANS_REMEMBERED_MAX: Final = 10_000
UNSTAMPED_AGE_S_MAX: Final = 1.0
"""How old the knowledge may be, while an index is behind, that rows have no stamps."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests to one namespace look like."""

    scatter_count: int = 1
    has_rest: bool = False
    """Whether rows may yet come that are in none of the shards."""
    is_stamped: bool = True
    """Whether rows have stamps to filter by; the store refuses a filter on nothing."""
    is_time_refused: bool = False
    """Whether the store has refused to filter by stamps, for want of any."""
    has_marker: bool = False
    is_strong: bool = False
    """Whether the namespace is read at strong consistency whatever a query says."""

    @property
    def unmarked(self) -> Filter | None:
        """What keeps the marker out of a request for all shards."""
        return filters.not_id(MARKER_ID) if self.has_marker else None

    @property
    def parts(self) -> Sequence[Filter]:
        """What each request keeps of a namespace that is asked shard by shard."""
        shards = [filters.in_shard(number) for number in range(self.scatter_count)]
        return [*shards, filters.outside_shards(self.scatter_count)] if self.has_rest else shards

    def level(self, asked: Consistency) -> Consistency:
        return "strong" if self.is_strong else asked

    def written(self, span: Written | None) -> Filter | None:
        """Return what keeps the rows of a span; where none has a stamp all are of any moment."""
        return None if span is None or self.is_time_refused else span.filter

    def finds_nothing(self, span: Written | None) -> bool:
        """Tell whether no row can be of a span, since none has a stamp."""
        return span is not None and self.is_time_refused and not span.has_unstamped

    def cuts(self, cut: Cut, asked: Consistency) -> Sequence[Filter | None]:
        """Return what cuts a request, and what cuts it when the store has no time for that.

        A request that is cut already is not sent again.
        """
        if not self.is_stamped or self.level(asked) == "strong":
            return (None, None)
        return (cut.filter,) if cut.filter is not None else (None, cut.at_watermark)


@dataclass(frozen=True, slots=True, kw_only=True)
class MakePlans:
    """Plans requests, and plans them anew when a store shows that the plan was out of date."""

    facts: Facts
    strong_namespaces: StrongNamespaces
    _made: dict[Namespace, tuple[NamespaceFacts, Plan]] = field(default_factory=dict)
    """The latest plan of each namespace, and the facts that it follows from."""

    def at_once(self, namespace: Namespace, facts: NamespaceFacts, cut: Cut) -> Plan | None:
        """Plan without waiting; None where something has to be asked first."""
        if not facts.exists or (cut.is_updating and UPSERTED_AT not in facts.types):
            return None
        return self._plan(namespace, facts)

    async def __call__(self, namespace: Namespace, cut: Cut, caller: Caller) -> Plan:
        """Plan for what is known of a namespace; raises the store's own errors."""
        try:
            facts = self.facts.known(namespace, caller) or await self.facts.get(namespace, caller)
            if cut.is_updating and UPSERTED_AT not in facts.types:
                # Another gateway may have written the first stamps meanwhile.
                facts = await self.facts.get(namespace, caller, age_s_max=UNSTAMPED_AGE_S_MAX)
        except UpstreamError as error:
            if error.reason not in UNREADABLE:
                raise
            # The store says itself what it has against the caller.
            return Plan(is_strong=namespace in self.strong_namespaces)
        return self._plan(namespace, facts)

    def _plan(self, namespace: Namespace, facts: NamespaceFacts) -> Plan:
        made = self._made.get(namespace)
        if made is not None and made[0] is facts:
            return made[1]
        plan = self._plan_anew(namespace, facts)
        if len(self._made) >= PLANS_REMEMBERED_MAX:
            self._made.clear()
        self._made[namespace] = (facts, plan)
        return plan

    def _plan_anew(self, namespace: Namespace, facts: NamespaceFacts) -> Plan:
        is_strong = namespace in self.strong_namespaces
        if not facts.exists:
            return Plan(is_strong=is_strong)
        sharding = facts.sharding
        scatter_count = sharding.scatter_count
        return Plan(
            scatter_count=scatter_count,
            has_rest=scatter_count > 1 and sharding.is_settling,
            is_stamped=UPSERTED_AT in facts.types,
            has_marker=sharding.marker is not None,
            is_strong=is_strong,
        )

    async def carry_out(
        self,
        namespace: Namespace,
        cut: Cut,
        caller: Caller,
        *,
        work: Callable[[Plan], Awaitable[T]],
        refusal: Callable[[T], StoreAnswer | None],
        plan: Plan | None = None,
    ) -> T:
        """Do ``work`` by a plan, once more if the schema has changed under what is remembered.

        Args:
            plan: By which it was begun already; None to make one.
        """
        if plan is None:
            plan = await self(namespace, cut, caller)
        done = await work(plan)
        refused = refusal(done)
        if refused is not None and blames_layer(refused):
            self.facts.forget(namespace)
            renewed = await self(namespace, cut, caller)
            renewed = structs.replace(renewed, is_time_refused=not renewed.is_stamped)
            if renewed != plan:
                done = await work(renewed)
        return done


def blames_layer(refusal: StoreAnswer) -> bool:
    """Tell whether the store refuses an attribute that only layer uses."""
    return refusal.status == HTTPStatus.BAD_REQUEST and RESERVED_PREFIX.encode() in refusal.body
