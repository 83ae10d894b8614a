"""Queries: the typed request to a Layer query, its answer to the typed response."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.answers import QueryAnswer
from layer_gateway.rpc.filters import filter_json
from layer_gateway.rpc.ids import id_json
from layer_gateway.rpc.rows import RowReader
from layer_gateway.rpc.vectors import vector_json
from layer_kit.errors import InvalidRequestError
from layer_wire.jsontext import RawObject, encode
from layer_wire.queries import (
    UPSTREAM_ROWS_MAX,
    VECTOR_ATTRIBUTE,
    LayerQuery,
    parse_layer_query,
)
from layer_wire.rows import RANK_KEY

TEXT_LENGTH_MAX: Final = 8192
SORT_KEYS_COUNT_MAX: Final = 8
NEAREST_IDS_MAX: Final = 100
_DISTANCE_RANKINGS: Final = frozenset({"vector", "nearest"})


def layer_query(request: gateway_pb2.QueryRowsRequest) -> LayerQuery:
    """Return the checked query that a request means.

    Raises:
        InvalidRequestError: ``RANKING_INVALID``, ``TOP_K_RANGE``, ``ATTRIBUTES_AMBIGUOUS``,
            ``VECTOR_INVALID``, ``ID_INVALID``, ``FILTER_INVALID``, ``VALUE_INVALID``, or what
            ``parse_layer_query`` finds.
    """
    if not 0 <= request.top_k <= UPSTREAM_ROWS_MAX:
        raise InvalidRequestError(
            "TOP_K_RANGE", f"top_k is 1 to {UPSTREAM_ROWS_MAX}, or 0 for the default."
        )
    query = parse_layer_query(encode(_body(request)))
    if request.consistency_level == common_pb2.CONSISTENCY_LEVEL_STRONG:
        return replace(query, consistency="strong")
    return query


def query_response(
    request: gateway_pb2.QueryRowsRequest, answer: QueryAnswer, reader: RowReader
) -> gateway_pb2.QueryRowsResponse:
    """Return the rows found, each with its distance or its score."""
    response = gateway_pb2.QueryRowsResponse(next_page_token=answer.next_cursor or "")
    ranking = request.WhichOneof("ranking")
    for found in answer.rows:
        row = response.rows.add(row=reader.row(found))
        rank = _rank(found)
        if rank is None:
            continue
        if ranking in _DISTANCE_RANKINGS:
            row.distance = rank
        elif ranking == "text":
            row.score = rank
    return response


def _body(request: gateway_pb2.QueryRowsRequest) -> dict[str, object]:
    """Return the query as it would come over HTTP."""
    body = _ranking(request)
    if request.HasField("filter"):
        body["filters"] = filter_json(request.filter, "filter")
    if request.top_k:
        body["top_k"] = request.top_k
    if request.with_all_attributes:
        if request.attribute_names:
            raise InvalidRequestError(
                "ATTRIBUTES_AMBIGUOUS", "Name attributes or ask for all of them, not both."
            )
        body["include_attributes"] = True
    elif request.attribute_names:
        body["include_attributes"] = list(request.attribute_names)
    match request.WhichOneof("written"):
        case "as_of_ms":
            body["as_of"] = request.as_of_ms
        case "between":
            body["between"] = [request.between.after_ms, request.between.through_ms]
        case None:
            pass
    if request.page_token:
        body["cursor"] = request.page_token
    return body


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
        case _:
            return {}  # which is no query: it is refused as over HTTP


def _by_vector(ranking: gateway_pb2.VectorRanking) -> dict[str, object]:
    vector = vector_json(ranking.vector, "vector")
    attribute = ranking.attribute or VECTOR_ATTRIBUTE
    if attribute == VECTOR_ATTRIBUTE and not ranking.is_exhaustive:
        return {"vector": vector}
    return {"rank_by": [attribute, "kNN" if ranking.is_exhaustive else "ANN", vector]}


def _nearest_ids(ranking: gateway_pb2.NearestRanking) -> list[object]:
    if not 1 <= len(ranking.ids) <= NEAREST_IDS_MAX:
        raise _invalid(f"nearest has 1 to {NEAREST_IDS_MAX} ids")
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


def _rank(row: RawObject) -> float | None:
    found = row.get(RANK_KEY)
    return None if found is None else msgspec.json.decode(found, type=float)


def _invalid(rule: str) -> InvalidRequestError:
    return InvalidRequestError("RANKING_INVALID", f"{rule}.")
