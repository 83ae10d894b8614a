"""Multi-queries: several legs over one namespace, answered together at one cut."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import structs

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.cuts import Cut
from layer_gateway.application.examples import RankByExample
from layer_gateway.application.legs import Leg, LegAnswer, RunLegs, all_of
from layer_gateway.application.plans import MakePlans, Plan
from layer_gateway.application.refusals import status_label
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller, Store, StoreAnswer
from layer_gateway.ports.watching import SearchObserver
from layer_kit.errors import LayerError
from layer_kit.names import Namespace
from layer_wire import filters
from layer_wire.filters import Filter
from layer_wire.jsontext import Raw, RawObject, encode
from layer_wire.multi_queries import MultiQuery, QueryLeg, leg_json, of_leg
from layer_wire.queries import VECTOR_ATTRIBUTE
from layer_wire.ranking import RankKind, parse_ranking
from layer_wire.reserved import MARKER_ID
from layer_wire.rows import RANK_KEY

REQUESTS_AT_ONCE_MAX: Final = 32
"""Requests that one multi-query over shards has under way."""

SCORE_KEY: Final = "$score"
MARKER: Final = f'"{MARKER_ID}"'.encode()
"""The marker's id as JSON; in a value of some row it costs one request more, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiQueryAnswer:
    """Rows of each leg, or an answer of the store's that is to be relayed."""

    results: list[list[RawObject]] = field(default_factory=list)
    relay: StoreAnswer | None = None
    """What the store said to all legs at once, or against one."""
    stable_as_of_ms: int | None = None
    requests_count: int = 1
    """Requests to the store that it took, without those sent again."""

    def as_one(self) -> QueryAnswer:
        """Return the rows of all legs, one leg after the other, for who only counts them."""
        if self.relay is None:
            rows = [row for result in self.results for row in result]
            return QueryAnswer(rows=rows, stable_as_of_ms=self.stable_as_of_ms)
        if self.relay.status != HTTPStatus.OK:
            return QueryAnswer(refusal=self.relay)
        try:
            found = _RELAYED.decode(self.relay.body).results
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = []  # it is relayed as it is all the same
        rows = [{"id": row.id} for result in found for row in result.rows]
        return QueryAnswer(rows=rows, stable_as_of_ms=self.stable_as_of_ms)


class _Row(msgspec.Struct):
    id: Raw


class _Result(msgspec.Struct):
    rows: list[_Row] = []


class _Results(msgspec.Struct):
    results: list[_Result] = []


_RELAYED: Final[msgspec.json.Decoder[_Results]] = msgspec.json.Decoder(_Results)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A multi-query on its way."""

    namespace: Namespace
    query: MultiQuery
    rankings: list[Raw]
    """What each leg is ranked by, in the store's words."""
    cut: Cut
    caller: Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLegs:
    """Answers multi-queries: in one request, or leg by leg where a namespace is in shards."""

    store: Store
    plans: MakePlans
    run_legs: RunLegs
    watermarks: Watermarks
    rank_by_example: RankByExample
    observer: SearchObserver

    async def __call__(
        self, namespace: Namespace, query: MultiQuery, caller: Caller
    ) -> MultiQueryAnswer:
        """Answer ``query`` and tell the observer; errors name the leg, counted from 1.

        Raises:
            InvalidRequestError: ``VECTORS_DIFFER``.
            NotFoundError: ``EXAMPLES_NOT_FOUND``.
            UpstreamError: The store's own.
        """
        legs_count = len(query.legs)
        try:
            answer = await self._asked(namespace, query, caller)
        except LayerError as error:
            self.observer.asked_together(namespace, status_label(error), legs_count, None)
            raise
        is_refused = answer.relay is not None and answer.relay.status != HTTPStatus.OK
        status = "tpuf_error" if is_refused else "ok"
        self.observer.asked_together(namespace, status, legs_count, answer.requests_count)
        return answer

    async def _asked(
        self, namespace: Namespace, query: MultiQuery, caller: Caller
    ) -> MultiQueryAnswer:
        cut = self.watermarks.cut(namespace)
        rankings = await all_of(
            self._ranking(number, namespace, leg, caller)
            for number, leg in enumerate(query.legs, 1)
        )
        asked = _Asked(namespace=namespace, query=query, rankings=rankings, cut=cut, caller=caller)
        return await self.plans.carry_out(
            namespace,
            cut,
            caller,
            work=lambda plan: self._answer(asked, plan),
            refusal=lambda answer: answer.relay,
        )

    async def _ranking(
        self, number: int, namespace: Namespace, leg: QueryLeg, caller: Caller
    ) -> Raw:
        try:
            return await self.rank_by_example(namespace, leg.query, caller)
        except LayerError as error:
            raise of_leg(number, error) from error

    async def _answer(self, asked: _Asked, plan: Plan) -> MultiQueryAnswer:
        if plan.finds_nothing(asked.query.written):
            results: list[list[RawObject]] = [[] for _ in asked.query.legs]
            return MultiQueryAnswer(
                results=results, stable_as_of_ms=asked.cut.stable_as_of_ms, requests_count=0
            )
        if plan.scatter_count > 1 and asked.query.is_mergeable:
            return await self._leg_by_leg(asked)
        answer = await self._at_once(asked, plan)
        if answer.status != HTTPStatus.OK:
            return MultiQueryAnswer(relay=answer)
        if not plan.has_marker and MARKER in answer.body:
            # Another gateway has initialised the namespace meanwhile.
            self.plans.facts.forget(asked.namespace)
            renewed = await self.plans(asked.namespace, asked.cut, asked.caller)
            return await self._answer(asked, structs.replace(renewed, has_marker=True))
        self.watermarks.seen(asked.namespace, asked.caller)
        return MultiQueryAnswer(relay=answer, stable_as_of_ms=asked.cut.stable_as_of_ms)

    async def _at_once(self, asked: _Asked, plan: Plan) -> StoreAnswer:
        """Send all legs in one request: the store answers them from one state."""
        level = plan.level(asked.query.consistency)
        first, *again = plan.cuts(asked.cut, asked.query.consistency)
        answer = await self._send(asked, plan, level, first)
        for cut_filter in again:
            if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
                answer = await self._send(asked, plan, level, cut_filter)
        return answer

    async def _send(
        self, asked: _Asked, plan: Plan, level: str, cut_filter: Filter | None
    ) -> StoreAnswer:
        around = (plan.written(asked.query.written), cut_filter, plan.unmarked)
        legs = [
            leg_json(leg, rank_by, filters.nested(leg.query.filter, *around))
            for leg, rank_by in zip(asked.query.legs, asked.rankings, strict=True)
        ]
        body = {"queries": legs, "consistency": {"level": level}, **asked.query.extra}
        return await self.store.query(asked.namespace, encode(body), asked.caller)

    async def _leg_by_leg(self, asked: _Asked) -> MultiQueryAnswer:
        """Send each leg to each shard."""
        slots = asyncio.Semaphore(REQUESTS_AT_ONCE_MAX)
        answers = await all_of(
            self._leg(number, asked, leg, rank_by, slots)
            for number, (leg, rank_by) in enumerate(
                zip(asked.query.legs, asked.rankings, strict=True), 1
            )
        )
        requests_count = sum(answer.scatter_count for answer in answers)
        for answer in answers:
            if answer.refusal is not None:
                return MultiQueryAnswer(relay=answer.refusal, requests_count=requests_count)
        results = [
            _rows(answer, rank_by) for answer, rank_by in zip(answers, asked.rankings, strict=True)
        ]
        return MultiQueryAnswer(
            results=results,
            stable_as_of_ms=asked.cut.stable_as_of_ms,
            requests_count=requests_count,
        )

    async def _leg(
        self, number: int, asked: _Asked, leg: QueryLeg, rank_by: Raw, slots: asyncio.Semaphore
    ) -> LegAnswer:
        asking = Leg(
            rank_by=rank_by,
            row_count=leg.query.top_k,
            filter=leg.query.filter,
            written=asked.query.written,
            include_attributes=leg.query.include_attributes,
            consistency=asked.query.consistency,
            extra=leg.extra,
        )
        try:
            return await self.run_legs(
                asked.namespace, asking, asked.cut, asked.caller, slots=slots
            )
        except LayerError as error:
            raise of_leg(number, error) from error


def _rows(answer: LegAnswer, rank_by: Raw) -> list[RawObject]:
    """Return the rows of a leg; a score is called one."""
    is_score = parse_ranking(rank_by).kind is RankKind.SCORE
    rows = []
    for row in answer.rows:
        row.pop(VECTOR_ATTRIBUTE, None)
        rows.append(
            {(SCORE_KEY if is_score and name == RANK_KEY else name): row[name] for name in row}
        )
    return rows
