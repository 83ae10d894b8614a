"""Queries: the typed request to a Layer query, its answer to the typed response."""

from __future__ import annotations

from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.fused_rows import SCORE_KEY
from layer_gateway.rpc.rows import RowReader
from layer_gateway.rpc.searching import by_auto, by_hybrid_text, fill_places, fill_reports
from layer_kit.errors import InvalidRequestError
from layer_messages.filters import filter_json
from layer_messages.ids import id_json
from layer_messages.vectors import vector_json
from layer_wire.jsontext import Raw, RawObject, encode
from layer_wire.queries import UPSTREAM_ROWS_MAX, VECTOR_ATTRIBUTE, decode_query
from layer_wire.rows import RANK_KEY
from layer_wire.search_bodies import Query, parse_query, with_consistency

TEXT_LENGTH_MAX: Final = 8192
SORT_KEYS_COUNT_MAX: Final = 8
_DISTANCE_RANKINGS: Final = frozenset({"vector", "nearest", "auto"})


def typed_query(request: gateway_pb2.QueryRowsRequest) -> tuple[Query, RawObject]:
    """Return the checked query that a request means, and its fields as they come over HTTP.

    Raises:
        InvalidRequestError: ``RANKING_INVALID``, ``TOP_K_RANGE``, ``ATTRIBUTES_AMBIGUOUS``,
            ``VECTOR_INVALID``, ``ID_INVALID``, ``FILTER_INVALID``, ``VALUE_INVALID``, or what
            ``parse_query`` finds.
    """
    body = encode(query_body(request))
    fields = decode_query(body)
    return consistent(request, parse_query(body, fields)), fields


def consistent(request: gateway_pb2.QueryRowsRequest, query: Query) -> Query:
    """Return ``query`` at the level of consistency that ``request`` asks for."""
    if request.consistency_level == common_pb2.CONSISTENCY_LEVEL_STRONG:
        return with_consistency(query, "strong")
    return query


def query_response(
    request: gateway_pb2.QueryRowsRequest, answer: QueryAnswer, reader: RowReader
) -> gateway_pb2.QueryRowsResponse:
    """Return the rows found, each with its distance or its score."""
    response = gateway_pb2.QueryRowsResponse(
        next_page_token=answer.next_cursor or "", stable_as_of_ms=answer.stable_as_of_ms
    )
    fill_reports(response, answer)
    for found in answer.rows:
        fill_ranked_row(response.rows.add(), found, request, reader)
    return response


def fill_ranked_row(
    target: gateway_pb2.RankedRow,
    found: RawObject,
    request: gateway_pb2.QueryRowsRequest,
    reader: RowReader,
) -> None:
    """Set a row with its distance or its score, as the ranking has it."""
    target.row.CopyFrom(reader.row(found))
    fill_places(target, found)
    ranking = request.WhichOneof("ranking")
    if SCORE_KEY in found:
        target.score = _number(found[SCORE_KEY])
    elif RANK_KEY in found and ranking in _DISTANCE_RANKINGS:
        target.distance = _number(found[RANK_KEY])
    elif RANK_KEY in found and ranking == "text":
        target.score = _number(found[RANK_KEY])


def query_body(request: gateway_pb2.QueryRowsRequest) -> dict[str, object]:
    """Return the query as it would come over HTTP; errors as for :func:`typed_query`."""
    if not 0 <= request.top_k <= UPSTREAM_ROWS_MAX:
        raise InvalidRequestError(
            "TOP_K_RANGE", f"top_k is 1 to {UPSTREAM_ROWS_MAX}, or 0 for the default."
        )
    body = _ranking(request)
    if request.HasField("filter"):
        body["filters"] = filter_json(request.filter, "filter")
    if request.top_k:
        body["top_k"] = request.top_k
    if (include := _included(request)) is not None:
        body["include_attributes"] = include
    body |= written_body(request)
    if request.page_token:
        body["cursor"] = request.page_token
    if request.with_leg_breakdown:
        body["include_leg_breakdown"] = True
    return body


def written_body(
    request: gateway_pb2.QueryRowsRequest | gateway_pb2.BatchQueryRowsRequest,
) -> dict[str, object]:
    """Return the restriction of time as it would come over HTTP."""
    match request.WhichOneof("written"):
        case "as_of_ms":
            return {"as_of": request.as_of_ms}
        case "between":
            return {"between": [request.between.after_ms, request.between.through_ms]}
        case _:
            return {}


def _included(request: gateway_pb2.QueryRowsRequest) -> bool | list[str] | None:
    """Return which attributes are wanted; None leaves it to the store."""
    if not request.with_all_attributes:
        return list(request.attribute_names) or None
    if request.attribute_names:
        raise InvalidRequestError(
            "ATTRIBUTES_AMBIGUOUS", "Name attributes or ask for all of them, not both."
        )
    return True


def _ranking(request: gateway_pb2.QueryRowsRequest) -> dict[str, object]:
    match request.WhichOneof("ranking"):
        case "vector":
            return _by_vector(request.vector)
        case "nearest":
            return {"nearest_to_id": _nearest_ids(request.nearest)}
        case "text":
            return {"rank_by": _by_text(request.text)}
        case "attributes":
            return {"rank_by": _by_attributes(request.attributes)}
        case "hybrid_text":
            return {"rank_by": by_hybrid_text(request.hybrid_text)}
        case "auto":
            return {"rank_by": by_auto(request.auto)}
        case _:
            return {}  # which is no query: it is refused as over HTTP


def _by_vector(ranking: gateway_pb2.VectorRanking) -> dict[str, object]:
    vector = vector_json(ranking.vector, "vector")
    attribute = ranking.attribute or VECTOR_ATTRIBUTE
    if attribute == VECTOR_ATTRIBUTE and not ranking.is_exhaustive:
        return {"vector": vector}
    return {"rank_by": [attribute, "kNN" if ranking.is_exhaustive else "ANN", vector]}


def _nearest_ids(ranking: gateway_pb2.NearestRanking) -> list[object]:
    return [id_json(id_, f"nearest.ids[{at}]") for at, id_ in enumerate(ranking.ids)]


def _by_text(ranking: gateway_pb2.TextRanking) -> list[object]:
    if not ranking.attribute or not 1 <= len(ranking.query) <= TEXT_LENGTH_MAX:
        raise _invalid(f"text has an attribute and a query of 1 to {TEXT_LENGTH_MAX} characters")
    options = [{"last_as_prefix": True}] if ranking.is_last_token_prefix else []
    return [ranking.attribute, "BM25", ranking.query, *options]


def _by_attributes(ranking: gateway_pb2.AttributeRanking) -> list[object]:
    if not 1 <= len(ranking.keys) <= SORT_KEYS_COUNT_MAX:
        raise _invalid(f"attributes has 1 to {SORT_KEYS_COUNT_MAX} keys")
    keys = [
        [key.attribute, "desc" if key.direction == gateway_pb2.SORT_DIRECTION_DESCENDING else "asc"]
        for key in ranking.keys
    ]
    return list(keys[0]) if len(keys) == 1 else list(keys)


def _number(text: Raw) -> float:
    return msgspec.json.decode(text, type=float)


def _invalid(rule: str) -> InvalidRequestError:
    return InvalidRequestError("RANKING_INVALID", f"{rule}.")
