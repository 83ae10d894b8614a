"""The gRPC service: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from layer.history.v1 import history_pb2, history_pb2_grpc
from layer_history.application.appending import Appending
from layer_history.application.listing import Listing
from layer_history.application.policies import Policies
from layer_history.application.retention import Retention
from layer_history.domain.events import Kind
from layer_history.domain.names import Stream
from layer_history.metrics import HistoryMetrics
from layer_history.rpc.parsing import (
    parse_batch,
    parse_policy,
    parse_start,
    parse_trace_id,
    parse_wanted,
)
from layer_history.rpc.rendering import click_events, event_refusal, history_policy, query_events
from layer_kit.names import parse_namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryServicer(history_pb2_grpc.HistoryServiceServicer):
    """Serves ``layer.history.v1.HistoryService``.

    Args:
        draining: Set when the process is about to stop; streams end at their next batch then.
    """

    appending: Appending
    listing: Listing
    policies: Policies
    retention: Retention
    metrics: HistoryMetrics
    draining: asyncio.Event

    async def AppendEvents(
        self, requests: AsyncIterator[history_pb2.AppendEventsRequest], context: object
    ) -> AsyncIterator[history_pb2.AppendEventsResponse]:
        async for request in self._until_draining(requests):
            values, refusals = parse_batch(request)
            await self.appending.append(values)
            self.metrics.count_batch(values, refused_count=len(refusals))
            yield history_pb2.AppendEventsResponse(
                accepted_count=len(values),
                batch_number=request.batch_number,
                refusals=map(event_refusal, refusals),
            )

    async def ListQueries(
        self, request: history_pb2.ListQueriesRequest, context: object
    ) -> history_pb2.ListQueriesResponse:
        stream = Stream(Kind.QUERY, parse_namespace(request.namespace))
        page = await self.listing.page(stream, parse_wanted(request))
        return history_pb2.ListQueriesResponse(
            queries=query_events(page.events), next_page_token=_token(page.before_ns)
        )

    async def ListClicks(
        self, request: history_pb2.ListClicksRequest, context: object
    ) -> history_pb2.ListClicksResponse:
        stream = Stream(Kind.CLICK, parse_namespace(request.namespace))
        trace_id = parse_trace_id(request.trace_id) if request.trace_id else ""
        page = await self.listing.page(stream, parse_wanted(request, trace_id))
        return history_pb2.ListClicksResponse(
            clicks=click_events(page.events), next_page_token=_token(page.before_ns)
        )

    async def GetTrace(
        self, request: history_pb2.GetTraceRequest, context: object
    ) -> history_pb2.GetTraceResponse:
        trace = await self.listing.trace(
            parse_namespace(request.namespace),
            parse_trace_id(request.trace_id),
            parse_start(request),
        )
        return history_pb2.GetTraceResponse(
            queries=query_events(trace.queries),
            clicks=click_events(trace.clicks),
            is_truncated=trace.is_truncated,
        )

    async def GetHistoryPolicy(
        self, request: history_pb2.GetHistoryPolicyRequest, context: object
    ) -> history_pb2.GetHistoryPolicyResponse:
        policy = self.policies.get(parse_namespace(request.namespace))
        return history_pb2.GetHistoryPolicyResponse(policy=history_policy(policy))

    async def UpdateHistoryPolicy(
        self, request: history_pb2.UpdateHistoryPolicyRequest, context: object
    ) -> history_pb2.UpdateHistoryPolicyResponse:
        policy = await self.policies.update(
            parse_namespace(request.namespace), parse_policy(request.policy)
        )
        return history_pb2.UpdateHistoryPolicyResponse(policy=history_policy(policy))

    async def DeleteNamespaceHistory(
        self, request: history_pb2.DeleteNamespaceHistoryRequest, context: object
    ) -> history_pb2.DeleteNamespaceHistoryResponse:
        count = await self.retention.purge(parse_namespace(request.namespace))
        return history_pb2.DeleteNamespaceHistoryResponse(deleted_object_count=count)

    async def _until_draining(
        self, requests: AsyncIterator[history_pb2.AppendEventsRequest]
    ) -> AsyncIterator[history_pb2.AppendEventsRequest]:
        """Yield requests; end when the process drains, or its stop would wait for the stream."""
        drained = asyncio.create_task(self.draining.wait())
        try:
            while True:
                received = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait({received, drained}, return_when=asyncio.FIRST_COMPLETED)
                if not received.done():
                    received.cancel()
                    return
                request = received.result()
                if request is None:
                    return
                yield request
        finally:
            drained.cancel()


def _token(before_ns: int | None) -> str:
    return "" if before_ns is None else str(before_ns)
