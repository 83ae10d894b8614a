"""Writes and queries of a namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from layer_gateway.application.asking import AnswerQuery
from layer_gateway.application.history import History
from layer_gateway.application.multi_querying import QueryLegs
from layer_gateway.application.plain_queries import PlainQueries
from layer_gateway.application.reports import reports
from layer_gateway.application.writing import WriteRows
from layer_gateway.http.answers import relayed
from layer_gateway.http.bodies import json_at_hand, read_json_body
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.errand_ports import Exchange, QuickHandler
from layer_gateway.http.exchanges import PassedOn, PlainExchange, QueryCalls
from layer_gateway.http.heads import Head
from layer_gateway.http.passthrough import Passthrough
from layer_gateway.http.queries import multi_query_response, query_response
from layer_gateway.http.requests import Handler, caller_of, session_of, visit_of
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.stores import StoreAnswer, StoreCalls
from layer_kit.names import Namespace, parse_namespace
from layer_wire.jsontext import RawObject
from layer_wire.multi_queries import is_multi_query, parse_multi_query
from layer_wire.prepared import NATIVE, QueryReader
from layer_wire.queries import decode_query, is_native
from layer_wire.search_bodies import is_search, parse_query


class _Billing(msgspec.Struct):
    billable_logical_bytes_written: int = 0


class _Written(msgspec.Struct):
    rows_upserted: int = 0
    rows_patched: int = 0
    billing: _Billing = msgspec.field(default_factory=_Billing)


_WRITTEN: Final[msgspec.json.Decoder[_Written]] = msgspec.json.Decoder(_Written)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowHandlers:
    """Writes and queries, layer's own and the store's."""

    write_rows: WriteRows
    answer_query: AnswerQuery
    plain_queries: PlainQueries
    query_legs: QueryLegs
    store: StoreCalls
    passthrough: Passthrough
    history: History
    body_bytes_max: int
    query_body_bytes_max: int

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.WRITE: self.write,
            Operation.QUERY: self.query,
            Operation.QUERY_OLD_PATH: self.query_old_path,
        }

    def quick_table(self) -> Mapping[Operation, QuickHandler]:
        return {Operation.QUERY: self.begin_query}

    def begin_query(self, request: EdgeRequest, route: Route) -> Exchange[Any] | None:
        """Return the exchange that a query takes, if it takes just one."""
        received, start, head = request.received, request.body_start, request.head
        if received is None or not head.is_plain_json or not head.is_usual:
            return None
        calls = head.kept
        if not isinstance(calls, QueryCalls) or calls.store is not self.store:
            calls = head.kept = self._calls(head, route)
        if len(received) - start > calls.body_bytes_max:
            return None
        query = calls.reader.read(received, start)
        if query is None:
            return None
        prepared = query.prepared
        request.shape = prepared.shape
        if prepared.form is NATIVE:
            return PassedOn(request, calls, prepared, memoryview(received)[start:])
        plain = calls.latest
        if plain is None or plain.prepared is not prepared or not plain.is_current:
            plain = self.plain_queries.plain(calls.namespace, prepared, head.caller)
            if plain is None:
                return None
            if prepared.is_remembered:
                calls.latest = plain
        session = head.session or session_of(request)
        return PlainExchange(self.history, calls, plain, session, query.numbers, session)

    def _calls(self, head: Head, route: Route) -> QueryCalls:
        name = parse_namespace(route.names["namespace"])
        forward = self.store.forward_call(head.raw_method, head.target, head.raw_headers)
        query = self.store.query_call(name, head.caller)
        reader = QueryReader()
        return QueryCalls(self.store, name, forward, query, reader, self.query_body_bytes_max)

    async def write(self, request: EdgeRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        name = parse_namespace(route.namespace)
        answer = await self.write_rows(name, body, caller_of(request))
        if answer.status == HTTPStatus.OK:
            request.written = _written(answer)
        return relayed(answer)

    async def query(self, request: EdgeRequest, route: Route) -> web.StreamResponse:
        body = json_at_hand(request, self.query_body_bytes_max)
        if body is None:
            body = await read_json_body(request, self.query_body_bytes_max)
        name = parse_namespace(route.names["namespace"])
        fields = decode_query(body)
        request.shape = "filters" in fields, "rank_by" in fields
        if not is_search(fields):
            if is_multi_query(fields):
                return await self._multi_query(request, name, body, fields)
            if is_native(fields):
                return await self.passthrough(request, body=body)
        visit = visit_of(request)
        query = parse_query(body, fields)
        answer = await self.answer_query(name, query, caller_of(request))
        self.history.queried(name, fields, visit, answer, reports(answer))
        return query_response(visit, query, answer)

    async def _multi_query(
        self, request: EdgeRequest, name: Namespace, body: bytes, fields: RawObject
    ) -> web.StreamResponse:
        visit = visit_of(request)
        query = parse_multi_query(body, fields)
        answer = await self.query_legs(name, query, caller_of(request))
        self.history.queried(name, fields, visit, answer.as_one(), {})
        return multi_query_response(visit, query, answer)

    async def query_old_path(self, request: EdgeRequest, route: Route) -> web.StreamResponse:
        target = request.head.path.replace("/v1/", "/v2/", 1)
        return await self.passthrough(request, target=target)


def _written(answer: StoreAnswer) -> tuple[int, int]:
    """Return rows and billed bytes of a write, as far as the store tells them."""
    try:
        found = _WRITTEN.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0, 0
    return found.rows_upserted + found.rows_patched, found.billing.billable_logical_bytes_written
