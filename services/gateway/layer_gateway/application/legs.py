"""Legs: the one way in which a query of layer's own reaches the store.

A leg is one ranking of one namespace. However many requests it takes, one for each shard where
the namespace is known to be in shards as a whole, its rows come back as if it had been one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final, Literal, TypeVar

from layer_gateway.application.facts import Facts
from layer_gateway.application.strong import StrongNamespaces
from layer_gateway.application.watermarks import Cut, Watermarks
from layer_gateway.ports import Caller, Store, StoreAnswer
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_wire import filters
from layer_wire.filters import Filter
from layer_wire.jsontext import Raw, RawObject, encode
from layer_wire.ranking import Ranking, merged, parse_ranking
from layer_wire.reserved import MARKER_ID, RESERVED_PREFIX, UPSERTED_AT
from layer_wire.rows import query_answer, read_answer, row_id

T = TypeVar("T")

Consistency = Literal["eventual", "strong"]

UNREADABLE: Final = frozenset({"SCHEMA_UNREADABLE", "MARKER_UNREADABLE"})
UNSTAMPED_AGE_S_MAX: Final = 1.0
"""How old the knowledge may be, while an index is behind, that rows have no stamps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """What to ask the store for."""

    rank_by: Raw
    row_count: int
    """How many rows are wanted, and asked of each shard."""
    filter: Filter | None = None
    """The caller's, with the temporal one around it."""
    include_attributes: bool | Sequence[str] | None = None
    """None leaves it to the store."""
    consistency: Consistency = "eventual"
    extra: Mapping[str, Raw] = field(default_factory=dict)
    """Further keys of the upstream query, as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegAnswer:
    """Rows in rank order, or the store's own answer when it refused."""

    rows: list[RawObject] = field(default_factory=list)
    refusal: StoreAnswer | None = None
    scatter_count: int = 1
    """How many shards were asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How a namespace is to be asked, as far as that depends on what is known of it."""

    scatter_count: int = 1
    is_stamped: bool = True
    """Whether rows have stamps to filter by; the store refuses a filter on nothing."""
    has_marker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One leg on its way."""

    namespace: Namespace
    leg: Leg
    cut: Cut
    caller: Caller
    threads: int | None
    slots: asyncio.Semaphore | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLegs:
    """Asks the store, shard by shard where it can, and merges what it answers."""

    store: Store
    facts: Facts
    watermarks: Watermarks
    strong_namespaces: StrongNamespaces

    async def __call__(
        self,
        namespace: Namespace,
        leg: Leg,
        cut: Cut,
        caller: Caller,
        *,
        threads: int | None = None,
        slots: asyncio.Semaphore | None = None,
    ) -> LegAnswer:
        """Run ``leg`` where ``cut`` says.

        Args:
            threads: How many shards to ask at once; None means all.
            slots: Bounds the requests of all legs that share it.

        Raises:
            UpstreamError: The store's own, or ``UPSTREAM_UNREADABLE``.
        """
        if namespace in self.strong_namespaces:
            leg = replace(leg, consistency="strong")
        run = _Run(
            namespace=namespace, leg=leg, cut=cut, caller=caller, threads=threads, slots=slots
        )
        plan = await self._plan(run)
        answer = await self._answer(run, plan)
        if answer.refusal is not None and _blames_layer(answer.refusal):
            # The schema has changed under what is remembered of it: look again, once.
            self.facts.forget(namespace)
            renewed = await self._plan(run)
            if renewed != plan:
                answer = await self._answer(run, renewed)
        if answer.refusal is None:
            self.watermarks.seen(namespace, caller)
        return answer

    async def _plan(self, run: _Run) -> _Plan:
        try:
            facts = await self.facts.get(run.namespace, run.caller)
            if run.cut.is_updating and UPSERTED_AT not in facts.types:
                # Another gateway may have written the first stamps meanwhile.
                facts = await self.facts.get(
                    run.namespace, run.caller, age_s_max=UNSTAMPED_AGE_S_MAX
                )
        except UpstreamError as error:
            if error.reason not in UNREADABLE:
                raise
            return _Plan()  # the store says itself what it has against this caller
        if not facts.exists:
            return _Plan()
        return _Plan(
            scatter_count=facts.sharding.scatter_count,
            is_stamped=UPSERTED_AT in facts.types,
            has_marker=facts.sharding.marker is not None,
        )

    async def _answer(self, run: _Run, plan: _Plan) -> LegAnswer:
        if plan.scatter_count == 1:
            return await self._whole(run, plan)
        return await self._scattered(run, plan)

    async def _whole(self, run: _Run, plan: _Plan) -> LegAnswer:
        kept = filters.not_id(MARKER_ID) if plan.has_marker else None
        answer = await self._ask(run, plan, kept)
        if answer.status != HTTPStatus.OK:
            return LegAnswer(refusal=answer)
        rows = read_answer(query_answer, answer.body).rows
        if plan.has_marker:
            rows = [row for row in rows if row_id(row) != MARKER_ID]
        return LegAnswer(rows=rows)

    async def _scattered(self, run: _Run, plan: _Plan) -> LegAnswer:
        ranking = parse_ranking(run.leg.rank_by)
        added = _missing_names(ranking, run.leg)
        slots = asyncio.Semaphore(run.threads or plan.scatter_count)

        async def shard(number: int) -> StoreAnswer:
            async with slots:
                return await self._ask(run, plan, filters.in_shard(number), added)

        answers = await all_of(shard(number) for number in range(plan.scatter_count))
        for answer in answers:
            if answer.status != HTTPStatus.OK:
                return LegAnswer(refusal=answer, scatter_count=plan.scatter_count)
        parts = [read_answer(query_answer, answer.body).rows for answer in answers]
        rows = merged(ranking, parts, run.leg.row_count)
        for name in added:
            for row in rows:
                row.pop(name, None)
        return LegAnswer(rows=rows, scatter_count=plan.scatter_count)

    async def _ask(
        self, run: _Run, plan: _Plan, kept: Filter | None, added: Sequence[str] = ()
    ) -> StoreAnswer:
        """Send one request; one that the store has no time for is cut and sent once more."""
        is_cuttable = plan.is_stamped and run.leg.consistency == "eventual"
        cut_filter = run.cut.filter if is_cuttable else None
        body = _body(run.leg, cut_filter, kept, added)
        answer = await self._send(run, body)
        if answer.status != HTTPStatus.TOO_MANY_REQUESTS or cut_filter is not None:
            return answer
        lighter = _body(run.leg, run.cut.at_watermark if is_cuttable else None, kept, added)
        return await self._send(run, lighter)

    async def _send(self, run: _Run, body: bytes) -> StoreAnswer:
        if run.slots is None:
            return await self.store.query(run.namespace, body, run.caller)
        async with run.slots:
            return await self.store.query(run.namespace, body, run.caller)


def _body(leg: Leg, cut_filter: Filter | None, kept: Filter | None, added: Sequence[str]) -> bytes:
    """Return the upstream query; filters nest from the caller's own outwards."""
    body: dict[str, object] = {
        **leg.extra,
        "rank_by": leg.rank_by,
        "top_k": leg.row_count,
        "consistency": {"level": leg.consistency},
    }
    if (found := filters.both(filters.both(leg.filter, cut_filter), kept)) is not None:
        body["filters"] = found
    include = leg.include_attributes
    if added:
        include = [*(include if isinstance(include, Sequence) else ()), *added]
    if include is not None:
        body["include_attributes"] = include
    return encode(body)


def _blames_layer(refusal: StoreAnswer) -> bool:
    """Tell whether the store refuses an attribute that only layer uses."""
    return refusal.status == HTTPStatus.BAD_REQUEST and RESERVED_PREFIX.encode() in refusal.body


def _missing_names(ranking: Ranking, leg: Leg) -> list[str]:
    """Name the attributes that rows are merged by and that nobody asked for."""
    include = leg.include_attributes
    if include is True:
        return []
    asked = {"id", *(include if isinstance(include, Sequence) else ())}
    return [name for name, _ in ranking.attributes if name not in asked]


async def all_of(asking: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all of them together; when one raises, the others are given up."""
    tasks = [asyncio.create_task(one) for one in asking]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
