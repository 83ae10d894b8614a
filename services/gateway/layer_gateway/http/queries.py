"""Answers to queries, in the contract's words."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.multi_querying import MultiQueryAnswer
from layer_gateway.application.reports import reports
from layer_gateway.domain.visits import Visit
from layer_gateway.http.answers import WholeAnswer, date_line, json_answer, relayed
from layer_gateway.http.requests import VECTOR_WARNING
from layer_kit.rpc.context import REQUEST_ID_HEADER
from layer_wire.multi_queries import MultiQuery
from layer_wire.queries import LayerQuery
from layer_wire.search_bodies import Query

PLAIN_BEGINNING: Final = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
VECTOR_WARNING_LINE: Final = "".join(
    f"{name}: {value}\r\n" for name, value in VECTOR_WARNING.items()
)


def query_response(visit: Visit, query: Query, answer: QueryAnswer) -> WholeAnswer:
    """Answer a query of one namespace, or relay what the store refused it with."""
    headers = {"traceparent": visit.traceparent}
    if answer.refusal is not None:
        return relayed(answer.refusal, headers=headers)
    if query.drops_vector:
        headers |= VECTOR_WARNING
    headers |= stable_as_of(answer.stable_as_of_ms)
    if answer.next_cursor is not None:
        headers["x-layer-next-cursor"] = answer.next_cursor
    body: dict[str, object] = {"rows": answer.rows, **reports(answer)}
    if not answer.is_deferred:
        body["next_cursor"] = answer.next_cursor
    return json_answer(body, headers=headers)


def plain_beginning(
    visit: Visit, query: LayerQuery, stable_as_of_ms: int | None, identifier: str
) -> bytes:
    """Return how an answer to a plain query begins, whatever is found."""
    lines = (
        f"{PLAIN_BEGINNING}traceparent: {visit.traceparent}\r\n"
        f"{REQUEST_ID_HEADER}: {identifier}\r\n"
    )
    if query.drops_vector:
        lines += VECTOR_WARNING_LINE
    if stable_as_of_ms is not None:
        lines += f"x-layer-stable-as-of: {stable_as_of_ms}\r\n"
    return lines.encode() + date_line()


def multi_query_response(visit: Visit, query: MultiQuery, answer: MultiQueryAnswer) -> WholeAnswer:
    """Answer a multi-query; what the store said to all of it is relayed."""
    headers = {"traceparent": visit.traceparent, **stable_as_of(answer.stable_as_of_ms)}
    if query.drops_vector and (answer.relay is None or answer.relay.status == HTTPStatus.OK):
        headers |= VECTOR_WARNING
    if answer.relay is not None:
        return relayed(answer.relay, headers=headers)
    return json_answer({"results": [{"rows": rows} for rows in answer.results]}, headers=headers)


def stable_as_of(watermark_ms: int | None) -> dict[str, str]:
    """Return the header that tells the watermark, where one is known."""
    return {} if watermark_ms is None else {"x-layer-stable-as-of": str(watermark_ms)}
