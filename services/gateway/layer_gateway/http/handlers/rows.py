"""Writes and queries of a namespace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from layer_gateway.application.querying import QueryRows
from layer_gateway.application.writing import WriteRows
from layer_gateway.http.answers import json_answer, relayed
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.passthrough import Passthrough
from layer_gateway.http.requests import VECTOR_WARNING, Handler, caller_of, traceparent
from layer_gateway.http.routes import Operation, Route
from layer_kit.names import parse_namespace
from layer_wire.queries import decode_query, is_native, parse_layer_query


@dataclass(frozen=True, slots=True, kw_only=True)
class RowHandlers:
    """Writes and queries, layer's own and the store's."""

    write_rows: WriteRows
    query_rows: QueryRows
    passthrough: Passthrough
    body_bytes_max: int

    def table(self) -> Mapping[Operation, Handler]:
        return {
            Operation.WRITE: self.write,
            Operation.QUERY: self.query,
            Operation.QUERY_OLD_PATH: self.query_old_path,
        }

    async def write(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        name = parse_namespace(route.namespace)
        return relayed(await self.write_rows(name, body, caller_of(request)))

    async def query(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        name = parse_namespace(route.namespace)
        if is_native(decode_query(body)):
            return await self.passthrough(request, body=body)
        query = parse_layer_query(body)
        answer = await self.query_rows(name, query, caller_of(request))
        headers = {"traceparent": traceparent(request)}
        if answer.refusal is not None:
            return relayed(answer.refusal, headers=headers)
        if query.drops_vector:
            headers |= VECTOR_WARNING
        if answer.stable_as_of_ms is not None:
            headers["x-layer-stable-as-of"] = str(answer.stable_as_of_ms)
        if answer.next_cursor is not None:
            headers["x-layer-next-cursor"] = answer.next_cursor
        found = {"rows": answer.rows, "next_cursor": answer.next_cursor}
        return json_answer(found, headers=headers)

    async def query_old_path(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        target = request.raw_path.replace("/v1/", "/v2/", 1)
        return await self.passthrough(request, target=target)
