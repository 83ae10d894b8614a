"""The gRPC edge: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.asking import AnswerQuery
from layer_gateway.application.facts import Facts
from layer_gateway.application.federating import QueryNamespaces
from layer_gateway.application.fetching import FetchRows
from layer_gateway.application.history import History
from layer_gateway.application.multi_querying import QueryLegs
from layer_gateway.application.refusals import accepted, refusal
from layer_gateway.application.reports import reports
from layer_gateway.application.streaming import StreamRows
from layer_gateway.domain.access import Scope
from layer_gateway.ports.stores import Caller
from layer_gateway.rpc.batching import batch_response, result_rows, typed_queries
from layer_gateway.rpc.callers import admitted
from layer_gateway.rpc.counting import (
    FETCH,
    QUERY,
    WRITE,
    counted,
    looked_up,
)
from layer_gateway.rpc.federating import federated_query, federated_response, namespace_of
from layer_gateway.rpc.namespace_servicer import NamespaceMethods
from layer_gateway.rpc.querying import query_response, typed_query
from layer_gateway.rpc.reading import (
    asked_ids,
    asked_names,
    lookup_response,
    row_stream,
    stream_messages,
)
from layer_gateway.rpc.rows import RowReader, attribute_names, cached_attributes
from layer_gateway.rpc.value_streams import value_stream, values_messages
from layer_gateway.rpc.visits import visit_of, visit_of_lookup
from layer_gateway.rpc.writing import write_body, write_response
from layer_kit.names import Namespace, parse_namespace
from layer_wire.jsontext import RawObject
from layer_wire.reserved import Author

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayServicer(NamespaceMethods):
    """Serves ``layer.gateway.v1.GatewayService`` from the use cases of the HTTP edge.

    Its own methods are those that write and read rows.
    """

    facts: Facts
    answer_query: AnswerQuery
    query_legs: QueryLegs
    query_namespaces: QueryNamespaces
    history: History
    fetch_rows: FetchRows
    stream_rows: StreamRows

    @counted(WRITE)
    async def WriteRows(
        self, request: gateway_pb2.WriteRowsRequest, context: Context
    ) -> gateway_pb2.WriteRowsResponse:
        author = _author(request)
        scope = Scope.WRITE if author is Author.CLIENT else Scope.ADMIN
        caller = await admitted(self.admission, scope, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        body = write_body(request)
        id_kind = None
        if request.with_affected_ids:  # asked first: what was written must not fail any more
            id_kind = (await self.facts.get(namespace, caller)).id_kind
        answer = await self.write_rows(namespace, body, caller, author=author)
        return write_response(request, accepted(answer, namespace), id_kind)

    @counted(QUERY)
    async def QueryRows(
        self, request: gateway_pb2.QueryRowsRequest, context: Context
    ) -> gateway_pb2.QueryRowsResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        visit = visit_of(request, context)
        query, fields = typed_query(request)
        found = await self.answer_query(namespace, query, caller)
        self.history.queried(namespace, fields, visit, found, reports(found))
        if found.refusal is not None:
            raise refusal(found.refusal, namespace)
        reader = await self._reader(namespace, found.rows, caller)
        return query_response(request, found, reader)

    @counted(QUERY)
    async def BatchQueryRows(
        self, request: gateway_pb2.BatchQueryRowsRequest, context: Context
    ) -> gateway_pb2.BatchQueryRowsResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        visit = visit_of(request, context)
        query, fields = typed_queries(request)
        found = await self.query_legs(namespace, query, caller)
        self.history.queried(namespace, fields, visit, found.as_one(), {})
        if found.relay is not None:
            accepted(found.relay, namespace)
        results = result_rows(found, len(request.queries))
        rows = [row for result in results for row in result]
        return batch_response(request, found, results, await self._reader(namespace, rows, caller))

    async def QueryNamespaces(
        self, request: gateway_pb2.QueryNamespacesRequest, context: Context
    ) -> gateway_pb2.QueryNamespacesResponse:
        caller = await admitted(self.admission, Scope.READ, context, None)
        count_max = self.query_namespaces.namespaces_count_max
        query = federated_query(request, namespaces_count_max=count_max)
        found = await self.query_namespaces(query, caller)
        if found.refusal is not None:
            raise refusal(found.refusal)
        by_namespace: defaultdict[Namespace, list[RawObject]] = defaultdict(list)
        for row in found.rows:
            by_namespace[namespace_of(row)].append(row)
        readers = {
            namespace: await self._reader(namespace, rows, caller)
            for namespace, rows in by_namespace.items()
        }
        return federated_response(request, found, readers)

    @counted(FETCH)
    async def LookupRows(
        self, request: gateway_pb2.LookupRowsRequest, context: Context
    ) -> gateway_pb2.LookupRowsResponse:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        visit = visit_of_lookup(context)
        facts = await self.facts.get(namespace, caller)
        asked = asked_ids(request, facts.id_kind)
        found = await self.fetch_rows.by_text(
            namespace,
            asked.texts,
            caller,
            names=asked_names(request),
            with_vectors=request.with_vectors and not request.ids_only,
            field="attribute_names",
        )
        looked_up(found, len(asked.texts))
        if not request.ids_only:  # who asks what there is has opened nothing
            self.history.clicked(namespace, asked.texts, visit, found, is_batch=True)
        rows = [cached_attributes(row) for row in found.rows.values()]
        reader = await self._reader(namespace, rows, caller)
        return lookup_response(request, asked, found, reader)

    async def StreamRows(
        self, request: gateway_pb2.StreamRowsRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.StreamRowsResponse]:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        stable_as_of_ms = self.namespaces.watermarks.cut(namespace).stable_as_of_ms
        async for page in self.stream_rows(namespace, row_stream(request), caller):
            reader = await self._reader(namespace, page, caller)
            for message in stream_messages(page, reader, stable_as_of_ms):
                yield message

    async def StreamValues(
        self, request: gateway_pb2.StreamValuesRequest, context: Context
    ) -> AsyncIterator[gateway_pb2.StreamValuesResponse]:
        caller = await admitted(self.admission, Scope.READ, context, request.namespace)
        namespace = parse_namespace(request.namespace)
        facts = await self.facts.covering(namespace, request.attribute_names, caller)
        wanted = value_stream(request, facts)
        stable_as_of_ms = self.namespaces.watermarks.cut(namespace).stable_as_of_ms
        async for page in self.stream_rows(namespace, wanted, caller):
            for message in values_messages(page, request.attribute_names, facts, stable_as_of_ms):
                yield message

    async def _reader(
        self, namespace: Namespace, rows: list[RawObject], caller: Caller
    ) -> RowReader:
        return RowReader(await self.facts.covering(namespace, attribute_names(rows), caller))


def _author(request: gateway_pb2.WriteRowsRequest) -> Author:
    if request.is_function_result:
        return Author.FUNCTION
    return Author.PIPELINE if request.is_pipeline_result else Author.CLIENT
