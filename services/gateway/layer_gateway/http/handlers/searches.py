"""Queries of many namespaces, and the route of searches that a model reranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from layer_gateway.application.answers import FederatedAnswer
from layer_gateway.application.federating import QueryNamespaces
from layer_gateway.application.reports import reports
from layer_gateway.http.answers import JSON_FIELDS, WholeAnswer, relayed
from layer_gateway.http.bodies import read_json_body
from layer_gateway.http.requests import VECTOR_WARNING, Handler, caller_of
from layer_gateway.http.routes import Operation, Route
from layer_gateway.ports.stores import Headers
from layer_kit.errors import UnsupportedError
from layer_wire.federated import FederatedQuery, parse_federated
from layer_wire.jsontext import encode

TRACEPARENT = b"traceparent"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHandlers:
    """Queries beyond one namespace's."""

    query_namespaces: QueryNamespaces
    store_name: str
    body_bytes_max: int

    def table(self) -> Mapping[Operation, Handler]:
        return {Operation.QUERY_MANY: self.query_many, Operation.SEARCH: self.search}

    async def query_many(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        body = await read_json_body(request, self.body_bytes_max)
        count_max = self.query_namespaces.namespaces_count_max
        query = parse_federated(body, namespaces_count_max=count_max)
        answer = await self.query_namespaces(query, caller_of(request))
        if answer.refusal is not None:
            response = relayed(answer.refusal)
            response.fields = [*response.fields, *_trace(request)]
            return response
        fields = [*JSON_FIELDS, *_trace(request)]
        return WholeAnswer(200, fields, encode(_body(answer)), headers=_headers(query, answer))

    async def search(self, request: web.BaseRequest, route: Route) -> web.StreamResponse:
        raise UnsupportedError(
            "RERANKING_UNSUPPORTED",
            "No reranker stands behind this route. Send a query with rerank_by; it is passed on.",
            store=self.store_name,
            route="searchNamespace",
        )


def _trace(request: web.BaseRequest) -> Headers:
    """Return the caller's traceparent byte for byte; here it is not judged, and none is made."""
    return [
        (TRACEPARENT, value) for name, value in request.raw_headers if name.lower() == TRACEPARENT
    ]


def _headers(query: FederatedQuery, answer: FederatedAnswer) -> dict[str, str]:
    headers: dict[str, str] = {}
    if query.query.drops_vector:
        headers |= VECTOR_WARNING
    if answer.stable_as_of_ms is not None:
        headers["x-layer-stable-as-of"] = str(answer.stable_as_of_ms)
    if answer.failures:
        headers["x-layer-partial"] = "true"
    return headers


def _body(answer: FederatedAnswer) -> dict[str, object]:
    merge = {"method": answer.merge.method, "route": "fused"}
    if answer.merge.downgrade is not None:
        merge["downgraded_reason"] = answer.merge.downgrade
    body: dict[str, object] = {"rows": answer.rows, "merge": merge, **reports(answer)}
    body["namespaces"] = [
        {"namespace": result.namespace}
        | ({} if result.stable_as_of_ms is None else {"stable_as_of": result.stable_as_of_ms})
        | {"matched": result.matched_count}
        for result in answer.results
    ]
    if answer.failures:
        body["errors"] = [
            {"namespace": failure.namespace, "error": failure.message, "code": failure.code}
            | ({"detail": failure.detail} if failure.detail else {})
            for failure in answer.failures
        ]
    return body
