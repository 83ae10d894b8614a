"""Searches: typed rankings to those of the HTTP contract, reports to messages."""

from __future__ import annotations

from typing import Final

import msgspec

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.answers import FederatedAnswer, HybridReport, QueryAnswer
from layer_gateway.application.fused_rows import FUSED_KEY
from layer_gateway.domain.routing import FORCED, Routing
from layer_kit.errors import InvalidRequestError
from layer_messages.vectors import vector_json
from layer_wire.jsontext import RawObject
from layer_wire.searches import SearchRoute

ROUTES: Final = {
    gateway_pb2.SEARCH_ROUTE_HYBRID_TEXT: SearchRoute.HYBRID_TEXT,
    gateway_pb2.SEARCH_ROUTE_SEMANTIC: SearchRoute.SEMANTIC,
    gateway_pb2.SEARCH_ROUTE_FUSED: SearchRoute.FUSED,
}
_ROUTE_MESSAGES: Final = {route: message for message, route in ROUTES.items()}


class _Place(msgspec.Struct):
    leg: str
    rank: int | None
    score: float | None


class _Fused(msgspec.Struct):
    legs: list[_Place]


_FUSED: Final[msgspec.json.Decoder[_Fused]] = msgspec.json.Decoder(_Fused)


def by_hybrid_text(ranking: gateway_pb2.HybridTextRanking) -> list[object]:
    """Return the ranking as it would come over HTTP; its parser judges it."""
    options = _shared_options(ranking)
    if ranking.rank_constant:
        options["rank_constant"] = ranking.rank_constant
    if ranking.per_leg_limit:
        options["per_leg_limit"] = ranking.per_leg_limit
    if ranking.thread_count:
        options["threads"] = ranking.thread_count
    return [ranking.attribute, "HybridText", ranking.query, options]


def by_auto(ranking: gateway_pb2.AutoRanking) -> list[object]:
    """Return the ranking as it would come over HTTP.

    Raises:
        InvalidRequestError: ``RANKING_INVALID``, ``VECTOR_INVALID``.
    """
    options = _shared_options(ranking)
    if ranking.route:
        if ranking.route not in ROUTES:
            raise InvalidRequestError(
                "RANKING_INVALID", f"auto.route {ranking.route} is no route that is known here."
            )
        options["route"] = ROUTES[ranking.route]
    match ranking.WhichOneof("meaning"):
        case "vector":
            options["vector"] = vector_json(ranking.vector, "auto.vector")
        case "embedded":
            named = {"field": ranking.embedded.attribute, "model": ranking.embedded.model}
            kept = {key: value for key, value in named.items() if value}
            options["vector"] = ["Embed", ranking.embedded.text, *([kept] if kept else [])]
        case None:
            pass
    return [ranking.attribute, "Auto", ranking.query, options]


def fill_reports(
    response: gateway_pb2.QueryRowsResponse | gateway_pb2.QueryNamespacesResponse,
    answer: QueryAnswer | FederatedAnswer,
) -> None:
    """Say how a search was carried out."""
    if answer.hybrid is not None:
        response.hybrid.CopyFrom(_hybrid(answer.hybrid))
    if answer.routing is not None:
        response.routing.CopyFrom(_routing(answer.routing, is_executed=not answer.is_deferred))


def fill_places(target: gateway_pb2.RankedRow, found: RawObject) -> None:
    """Say what each leg made of a row, where that was asked for."""
    if FUSED_KEY not in found:
        return
    for place in _FUSED.decode(found[FUSED_KEY]).legs:
        target.legs.add(leg=place.leg, rank=place.rank, score=place.score)


def _shared_options(
    ranking: gateway_pb2.HybridTextRanking | gateway_pb2.AutoRanking,
) -> dict[str, object]:
    options: dict[str, object] = {}
    if ranking.HasField("edit_distance_max"):
        options["fuzziness"] = ranking.edit_distance_max
    match ranking.WhichOneof("stop_words"):
        case "own_stop_words":
            options["stopwords"] = list(ranking.own_stop_words.words)
        case "without_stop_words" if ranking.without_stop_words:
            options["stopwords"] = False
        case _:
            pass
    return options


def _hybrid(report: HybridReport) -> gateway_pb2.HybridReport:
    return gateway_pb2.HybridReport(
        tokens=report.tokens,
        dropped_token_count=report.tokens_dropped_count,
        dropped_stop_word_count=report.stop_words_dropped_count,
        rank_constant=report.rank_constant,
        leg_count=report.legs_count,
        per_leg_limit=report.per_leg_limit,
        is_surfaced=report.is_surfaced,
        thread_count=report.threads,
    )


def _routing(routing: Routing, *, is_executed: bool) -> gateway_pb2.SearchRouting:
    return gateway_pb2.SearchRouting(
        route=_ROUTE_MESSAGES[routing.route],
        is_forced=routing.policy == FORCED,
        token_count=routing.tokens_count,
        is_executed=is_executed,
    )
