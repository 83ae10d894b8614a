"""Hybrid text: a search that forgives misspellings, out of several rankings of the store.

One leg ranks by the text as it stands, one more for each word among the rows with something like
it; their ranks are fused. docs/reference/http.md, "Hybrid text" has the rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from layer_gateway.application.answers import HybridReport, QueryAnswer
from layer_gateway.application.cuts import Cut
from layer_gateway.application.fused_rows import (
    FUZZY,
    RankedLeg,
    by_nearness,
    fused_rows,
    in_order,
)
from layer_gateway.application.legs import Leg, LegAnswer, RunLegs, all_of
from layer_gateway.application.refusals import status_label
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.domain.fusion import fuse
from layer_gateway.domain.tokens import (
    ENGLISH_STOP_WORDS,
    SearchTokens,
    search_tokens,
)
from layer_gateway.ports.stores import Caller
from layer_gateway.ports.watching import SearchObserver
from layer_kit.errors import (
    InvalidRequestError,
    LayerError,
)
from layer_kit.names import Namespace
from layer_wire import filters
from layer_wire.jsontext import Raw, raw
from layer_wire.queries import VECTOR_ATTRIBUTE
from layer_wire.rows import RANK_KEY
from layer_wire.search_bodies import encode_offset, parse_offset
from layer_wire.searches import TextSearch

REQUESTS_AT_ONCE_MAX: Final = 16
"""Upstream requests of one search at a time: what the store lets a namespace have."""

BM25: Final = "bm25"
SEMANTIC: Final = "semantic"

_UNKNOWN_TO_STORE: Final = frozenset({HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.NOT_IMPLEMENTED})
"""How a store answers an operator that it has never heard of. That a field is not prepared for it
is another answer, and for the caller to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """One search on its way."""

    namespace: Namespace
    search: TextSearch
    tokens: SearchTokens
    semantic: Raw | None
    cut: Cut
    caller: Caller
    slots: asyncio.Semaphore
    page_start: int
    page_end: int
    rows_per_leg: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchText:
    """Runs the legs of a search together and fuses them."""

    run_legs: RunLegs
    watermarks: Watermarks
    observer: SearchObserver

    async def __call__(
        self,
        namespace: Namespace,
        search: TextSearch,
        caller: Caller,
        *,
        semantic: Raw | None = None,
        slots: asyncio.Semaphore | None = None,
    ) -> QueryAnswer:
        """Run ``search`` and tell the observer how it ended.

        Args:
            semantic: How a further leg ranks, by a vector.
            slots: Bounds the upstream requests of a larger whole.

        Raises:
            InvalidRequestError: ``TEXT_WITHOUT_TOKENS``, ``CURSOR_INVALID``, ``PAGE_TOO_DEEP``.
            UpstreamError: The store's own.
        """
        tokens_count = None
        try:
            run = self._prepared(namespace, search, caller, semantic, slots)
            tokens_count = len(run.tokens.tokens)
            answer = await self._run(run)
        except LayerError as error:
            self.observer.searched(namespace, status_label(error), tokens_count)
            raise
        status = "ok" if answer.refusal is None else "tpuf_error"
        self.observer.searched(namespace, status, tokens_count)
        return answer

    def _prepared(
        self,
        namespace: Namespace,
        search: TextSearch,
        caller: Caller,
        semantic: Raw | None,
        slots: asyncio.Semaphore | None,
    ) -> _Search:
        page_start = parse_offset(search.scope.cursor, search.scope.top_k)
        page_end = page_start + search.scope.top_k
        tokens = search_tokens(search.text, _stop_words(search))
        if not tokens.tokens and not tokens.are_all_stopped:
            raise InvalidRequestError(
                "TEXT_WITHOUT_TOKENS",
                "rank_by[2] has no word of 2 characters or more to look for.",
                field="rank_by",
            )
        return _Search(
            namespace=namespace,
            search=search,
            tokens=tokens,
            semantic=semantic,
            cut=self.watermarks.cut(namespace),
            caller=caller,
            slots=slots or asyncio.Semaphore(REQUESTS_AT_ONCE_MAX),
            page_start=page_start,
            page_end=page_end,
            rows_per_leg=search.rows_per_leg(page_end),
        )

    async def _run(self, run: _Search) -> QueryAnswer:
        legs = _legs(run)
        answers = await self._ask(run, legs)
        heard = {
            label: answer
            for label, answer in answers.items()
            if not (_is_fuzzy(label) and _is_unknown(answer))
        }
        refusal = next((a.refusal for a in heard.values() if a.refusal is not None), None)
        if refusal is not None:
            return QueryAnswer(refusal=refusal)
        ranked = [in_order(label, answer) for label, answer in heard.items()]
        is_misspelt = not any(leg.rows for leg in ranked) and any(map(_is_fuzzy, heard))
        if is_misspelt and run.semantic is None:
            return await self._surfaced(run)
        return _fused(run, ranked, _threads(run, answers))

    async def _surfaced(self, run: _Search) -> QueryAnswer:
        """Find rows by their misspelt words alone: such rows have no score upstream."""
        answers = await self._ask(run, _surfacing_legs(run))
        refusal = next((a.refusal for a in answers.values() if a.refusal is not None), None)
        if refusal is not None:
            return QueryAnswer(refusal=refusal)
        # Measuring words is work for the processor: other requests go on meanwhile.
        ranked = await asyncio.to_thread(by_nearness, run.search.field, answers)
        return _fused(run, ranked, _threads(run, answers), is_surfaced=True)

    async def _ask(self, run: _Search, legs: Mapping[str, Leg]) -> dict[str, LegAnswer]:
        answers = await all_of(
            self.run_legs(
                run.namespace,
                leg,
                run.cut,
                run.caller,
                threads=run.search.threads,
                slots=run.slots,
            )
            for leg in legs.values()
        )
        return dict(zip(legs, answers, strict=True))


def _stop_words(search: TextSearch) -> frozenset[str]:
    match search.stop_words:
        case "en":
            return ENGLISH_STOP_WORDS
        case False:
            return frozenset()
        case words:
            return frozenset(words)


def _legs(run: _Search) -> dict[str, Leg]:
    search = run.search
    by_text = raw([search.field, "BM25", search.text])
    legs = {BM25: _leg(run, by_text)}
    for token in run.tokens.tokens:
        legs[FUZZY + token] = _leg(run, by_text, token)
    if run.semantic is not None:
        legs[SEMANTIC] = _leg(run, run.semantic)
    return legs


def _surfacing_legs(run: _Search) -> dict[str, Leg]:
    by_id = raw(["id", "asc"])
    return {FUZZY + token: _leg(run, by_id, token, with_field=True) for token in run.tokens.tokens}


def _leg(run: _Search, rank_by: Raw, token: str | None = None, *, with_field: bool = False) -> Leg:
    scope, field = run.search.scope, run.search.field
    is_like = None if token is None else filters.fuzzy(field, token, run.search.edits_max)
    include = scope.include_attributes
    if with_field and include is not True:
        include = list(dict.fromkeys([*(include or ()), field]))
    return Leg(
        rank_by=rank_by,
        row_count=run.rows_per_leg,
        filter=scope.filtered(is_like),
        written=scope.written,
        include_attributes=include,
        consistency=scope.consistency,
    )


def _is_fuzzy(label: str) -> bool:
    return label.startswith(FUZZY)


def _is_unknown(answer: LegAnswer) -> bool:
    return answer.refusal is not None and answer.refusal.status in _UNKNOWN_TO_STORE


def _threads(run: _Search, answers: Mapping[str, LegAnswer]) -> int | None:
    """Return how many shards were asked at once; None where there are none."""
    shard_count = max(answer.scatter_count for answer in answers.values())
    return min(run.search.threads, shard_count) if shard_count > 1 else None


def _fused(
    run: _Search, ranked: Sequence[RankedLeg], threads: int | None, *, is_surfaced: bool = False
) -> QueryAnswer:
    search = run.search
    fused = fuse([leg.order for leg in ranked], search.rank_constant)
    include = search.scope.include_attributes
    is_asked_for = include is True or (isinstance(include, list) and search.field in include)
    hidden = {RANK_KEY, VECTOR_ATTRIBUTE}
    if is_surfaced and not is_asked_for:
        hidden.add(search.field)
    rows = fused_rows(
        ranked,
        fused[run.page_start : run.page_end],
        hidden=hidden,
        with_breakdown=search.scope.with_leg_breakdown,
    )
    return QueryAnswer(
        rows=rows,
        next_cursor=encode_offset(run.page_end) if len(fused) > run.page_end else None,
        stable_as_of_ms=run.cut.stable_as_of_ms,
        hybrid=HybridReport(
            tokens=run.tokens.tokens,
            tokens_dropped_count=run.tokens.dropped_count,
            stop_words=search.stop_words,
            stop_words_dropped_count=run.tokens.stopped_count,
            fuzziness=search.fuzziness,
            rank_constant=search.rank_constant,
            legs_count=len(ranked),
            per_leg_limit=run.rows_per_leg,
            is_surfaced=is_surfaced,
            threads=threads,
        ),
    )
