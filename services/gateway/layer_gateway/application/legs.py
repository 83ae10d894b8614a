"""Legs: the one way in which a query of layer's own reaches the store.

A leg is one ranking of one namespace. However many requests it takes, one for each shard where
the namespace is known to be in shards as a whole, its rows come back as if it had been one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from layer_gateway.application.cuts import Cut
from layer_gateway.application.plans import Consistency, MakePlans, Plan
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller, Store, StoreAnswer
from layer_kit.names import Namespace
from layer_wire import filters
from layer_wire.filters import Filter, Written
from layer_wire.jsontext import Raw, RawObject, encode
from layer_wire.ranking import Ranking, merged, parse_ranking
from layer_wire.reserved import MARKER_ID
from layer_wire.rows import query_answer, read_answer, row_ids

T = TypeVar("T")


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask the store for."""

    rank_by: Raw
    row_count: int
    """How many rows are wanted, and asked of each shard."""
    filter: Filter | None = None
    """The caller's."""
    written: Written | None = None
    """When the rows wanted were written last."""
    include_attributes: bool | Sequence[str] | None = None
    """None leaves it to the store."""
    consistency: Consistency = "eventual"
    extra: Mapping[str, Raw] = msgspec.field(default_factory=dict)
    """Further keys of the upstream query, as they are."""


class LegAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows in rank order, or the store's own answer when it refused."""

    rows: list[RawObject] = msgspec.field(default_factory=list)
    refusal: StoreAnswer | None = None
    scatter_count: int = 1
    """How many shards were asked."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A leg whose first request is answered already."""

    plan: Plan
    answer: StoreAnswer


class _Run(msgspec.Struct, frozen=True, kw_only=True):
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
    plans: MakePlans
    watermarks: Watermarks

    async def __call__(
        self,
        namespace: Namespace,
        leg: Leg,
        cut: Cut,
        caller: Caller,
        *,
        threads: int | None = None,
        slots: asyncio.Semaphore | None = None,
        begun: Begun | None = None,
    ) -> LegAnswer:
        """Run ``leg`` where ``cut`` says.

        Args:
            threads: How many shards to ask at once; None means all.
            slots: Bounds the requests of all legs that share it.
            begun: Where it was begun already, to go on from there.

        Raises:
            UpstreamError: The store's own, or ``UPSTREAM_UNREADABLE``.
        """
        run = _Run(
            namespace=namespace, leg=leg, cut=cut, caller=caller, threads=threads, slots=slots
        )
        answer = await self.plans.carry_out(
            namespace,
            cut,
            caller,
            work=lambda plan: self._answer(run, plan, begun),
            refusal=lambda done: done.refusal,
            plan=None if begun is None else begun.plan,
        )
        if answer.refusal is None:
            self.watermarks.seen(namespace, caller)
        return answer

    async def _answer(self, run: _Run, plan: Plan, begun: Begun | None = None) -> LegAnswer:
        if plan.finds_nothing(run.leg.written):
            return LegAnswer()
        if plan.scatter_count > 1:
            return await self._scattered(run, plan)
        first = begun.answer if begun is not None and begun.plan is plan else None
        answer = await self._ask(run, plan, plan.unmarked, first=first)
        if answer.status != HTTPStatus.OK:
            return LegAnswer(refusal=answer)
        found = read_answer(query_answer, answer.body).rows
        ids = row_ids(found)
        if MARKER_ID not in ids:
            return LegAnswer(rows=found)
        if not plan.has_marker:
            # Another gateway has initialised the namespace meanwhile.
            self.plans.facts.forget(run.namespace)
            renewed = await self.plans(run.namespace, run.cut, run.caller)
            return await self._answer(run, structs.replace(renewed, has_marker=True))
        return LegAnswer(
            rows=[row for row, id_ in zip(found, ids, strict=True) if id_ != MARKER_ID]
        )

    async def _scattered(self, run: _Run, plan: Plan) -> LegAnswer:
        ranking = parse_ranking(run.leg.rank_by)
        added = _missing_names(ranking, run.leg)
        slots = asyncio.Semaphore(run.threads or plan.scatter_count)

        async def ask(part: Filter) -> StoreAnswer:
            async with slots:
                return await self._ask(run, plan, part, added)

        answers = await all_of(map(ask, plan.parts))
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
        self,
        run: _Run,
        plan: Plan,
        kept: Filter | None,
        added: Sequence[str] = (),
        *,
        first: StoreAnswer | None = None,
    ) -> StoreAnswer:
        """Send one request; one that the store has no time for is cut and sent once more.

        Args:
            first: What it was answered with at first, if it was sent already.
        """
        first_cut, *again = plan.cuts(run.cut, run.leg.consistency)
        answer = first or await self._send(run, leg_body(run.leg, plan, first_cut, kept, added))
        for cut_filter in again:
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                answer = await self._send(run, leg_body(run.leg, plan, cut_filter, kept, added))
        return answer

    async def _send(self, run: _Run, body: bytes) -> StoreAnswer:
        if run.slots is None:
            return await self.store.query(run.namespace, body, run.caller)
        async with run.slots:
            return await self.store.query(run.namespace, body, run.caller)


def leg_body(
    leg: Leg,
    plan: Plan,
    cut_filter: Filter | None,
    kept: Filter | None,
    added: Sequence[str] = (),
) -> bytes:
    """Return the upstream query of a leg.

    Args:
        cut_filter: What cuts it at the watermark.
        kept: What keeps it to a part of the namespace; the outermost filter.
        added: Attributes to ask for besides.
    """
    body: dict[str, object] = {
        **leg.extra,
        "rank_by": leg.rank_by,
        "top_k": leg.row_count,
        "consistency": {"level": plan.level(leg.consistency)},
    }
    found = filters.nested(leg.filter, plan.written(leg.written), cut_filter, kept)
    if found is not None:
        body["filters"] = found
    include = leg.include_attributes
    if added:
        include = [*(include if isinstance(include, Sequence) else ()), *added]
    if include is not None:
        body["include_attributes"] = include
    return encode(body)


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
