"""Several queries together: the typed request to a multi-query, its answer to messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.multi_querying import MultiQueryAnswer
from layer_gateway.rpc.querying import fill_ranked_row, query_body, written_body
from layer_gateway.rpc.rows import RowReader
from layer_kit.errors import InvalidRequestError, UpstreamError
from layer_wire.jsontext import RawObject, decode_object, encode
from layer_wire.multi_queries import MultiQuery, of_leg, parse_multi_query
from layer_wire.queries import VECTOR_ATTRIBUTE
from layer_wire.rows import read_answer

SHARED_FIELDS: Final = ("consistency_level", "raw_query", "tags", "with_leg_breakdown")
"""What only all queries together can have."""


class _Result(msgspec.Struct):
    rows: list[RawObject] = []


class _Results(msgspec.Struct):
    results: list[_Result] = []


_RESULTS: Final[msgspec.json.Decoder[_Results]] = msgspec.json.Decoder(_Results)


def typed_queries(
    request: gateway_pb2.BatchQueryRowsRequest,
) -> tuple[MultiQuery, RawObject]:
    """Return the checked multi-query that a request means, and its fields as they come over HTTP.

    Raises:
        InvalidRequestError: As for one query, in the words of ``multi-query leg 1: …``.
    """
    body = written_body(request)
    body["queries"] = [_leg(number, query) for number, query in enumerate(request.queries, 1)]
    if request.consistency_level == common_pb2.CONSISTENCY_LEVEL_STRONG:
        body["consistency"] = {"level": "strong"}
    text = encode(body)
    fields = decode_object(text)
    return parse_multi_query(text, fields), fields


def result_rows(answer: MultiQueryAnswer, count: int) -> list[list[RawObject]]:
    """Return the rows of each of ``count`` queries; what the store said to all of them is read.

    Raises:
        UpstreamError: ``UPSTREAM_UNREADABLE``.
    """
    if answer.relay is None:
        return answer.results
    results = read_answer(_RESULTS, answer.relay.body).results
    if len(results) != count:
        raise UpstreamError(
            "UPSTREAM_UNREADABLE",
            f"The store answered {count} queries with {len(results)} results.",
        )
    for result in results:
        for row in result.rows:
            row.pop(VECTOR_ATTRIBUTE, None)
    return [result.rows for result in results]


def batch_response(
    request: gateway_pb2.BatchQueryRowsRequest,
    answer: MultiQueryAnswer,
    results: Sequence[Sequence[RawObject]],
    reader: RowReader,
) -> gateway_pb2.BatchQueryRowsResponse:
    """Return the rows of each query."""
    response = gateway_pb2.BatchQueryRowsResponse(stable_as_of_ms=answer.stable_as_of_ms)
    for query, rows in zip(request.queries, results, strict=True):
        result = response.results.add()
        for row in rows:
            fill_ranked_row(result.rows.add(), row, query, reader)
    return response


def _leg(number: int, query: gateway_pb2.QueryRowsRequest) -> dict[str, object]:
    """Return one query as it would come over HTTP.

    Raises:
        InvalidRequestError: ``LEG_FIELD`` for what only all of them together can have.
    """
    try:
        _refuse_shared(query)
        return query_body(query)
    except InvalidRequestError as error:
        raise of_leg(number, error) from error


def _refuse_shared(query: gateway_pb2.QueryRowsRequest) -> None:
    for name in SHARED_FIELDS:
        if getattr(query, name):
            raise InvalidRequestError("LEG_FIELD", f"{name} is not a field of a leg.")
