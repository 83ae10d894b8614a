"""The gRPC edge of rows: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_cache.application.found import Found, Projection
from layer_cache.application.reads import Reads
from layer_cache.application.sessions import Sessions
from layer_cache.application.statistics import Statistics
from layer_cache.application.writes import Writes
from layer_cache.domain.limits import (
    FENCE_TTL_MS_MAX,
    FENCE_TTL_MS_MIN,
    IDS_PER_FENCE_MAX,
    RING_BYTES_MAX,
)
from layer_cache.domain.rows import row_keys
from layer_cache.metrics import CacheMetrics
from layer_cache.rpc.columns import check_columns
from layer_cache.rpc.lookups import LookupStream
from layer_cache.rpc.lookups_in_hand import render
from layer_cache.rpc.parsing import (
    attribute_names_of,
    dirty_set_of,
    fence_name_of,
    projection_of,
    selection_of,
    settlement_of,
    vector_column,
)
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """Serves ``layer.cache.v1.CacheService``.

    Args:
        draining: Set when the process is about to stop; streams of lookups end then.
        lookup_address: Where lookups are served directly; empty for nowhere.
    """

    reads: Reads
    writes: Writes
    sessions: Sessions
    statistics: Statistics
    metrics: CacheMetrics
    draining: asyncio.Event
    lookup_address: str = ""

    async def OpenSession(
        self, request: cache_pb2.OpenSessionRequest, context: object
    ) -> cache_pb2.OpenSessionResponse:
        if len(request.ring) > RING_BYTES_MAX:
            raise InvalidRequestError(
                "RING_INVALID", f"ring has at most {RING_BYTES_MAX} bytes.", field="ring"
            )
        session_id = await self.sessions.open(
            request.member_id,
            dirty_set_of(request),
            is_returning=request.is_returning,
            ring=request.ring,
        )
        return cache_pb2.OpenSessionResponse(
            session_id=session_id,
            lease_ms=self._lease_ms,
            incarnation=self.reads.order.incarnation.hex(),
            declared_gone_ms=int(self.sessions.members.declared_gone_s * 1000),
            is_ring_mixed=self.sessions.members.is_ring_mixed,
            lookup_address=self.lookup_address,
        )

    async def RenewSession(
        self, request: cache_pb2.RenewSessionRequest, context: object
    ) -> cache_pb2.RenewSessionResponse:
        if request.elapsed_ms < 0 or request.answered_renewal_number < 1:
            raise InvalidRequestError(
                "RENEWAL_INVALID",
                "elapsed_ms must not be negative and answered_renewal_number starts at 1.",
            )
        number = self.sessions.renew(
            request.session_id,
            answered_number=request.answered_renewal_number,
            elapsed_s=request.elapsed_ms / 1000,
        )
        return cache_pb2.RenewSessionResponse(
            lease_ms=self._lease_ms,
            renewal_number=number,
            is_ring_mixed=self.sessions.members.is_ring_mixed,
        )

    async def CloseSession(
        self, request: cache_pb2.CloseSessionRequest, context: object
    ) -> cache_pb2.CloseSessionResponse:
        await self.sessions.close(request.session_id)
        return cache_pb2.CloseSessionResponse()

    async def LookupRows(
        self, request: cache_pb2.LookupRowsRequest, context: object
    ) -> cache_pb2.LookupRowsResponse:
        response = cache_pb2.LookupRowsResponse()
        render(await self.look_up(request), response)
        return response

    async def StreamLookups(
        self, requests: AsyncIterator[cache_pb2.StreamLookupsRequest], context: object
    ) -> AsyncIterator[cache_pb2.StreamLookupsResponse]:
        async for response in LookupStream(self.look_up, self.draining).answers(requests):
            yield response

    async def BackfillRows(
        self, request: cache_pb2.BackfillRowsRequest, context: object
    ) -> cache_pb2.BackfillRowsResponse:
        started_s = time.perf_counter()
        # A slice of a column costs a third of what a list of it does.
        ids, bodies = request.ids[:], request.bodies[:]
        vectors = vector_column(request.vectors[:], len(ids))
        check_columns(ids=ids, bodies=bodies, vectors=vectors)
        stored_count = await self.reads.backfill(
            parse_namespace(request.namespace), request.read_token, ids, bodies, vectors
        )
        self.metrics.count_backfill(
            stored=stored_count,
            refused=len(ids) - stored_count,
            seconds=time.perf_counter() - started_s,
        )
        return cache_pb2.BackfillRowsResponse(stored_count=stored_count)

    async def FenceRows(
        self, request: cache_pb2.FenceRowsRequest, context: object
    ) -> cache_pb2.FenceRowsResponse:
        if not FENCE_TTL_MS_MIN <= request.ttl_ms <= FENCE_TTL_MS_MAX:
            raise InvalidRequestError(
                "TTL_OUT_OF_RANGE",
                f"ttl_ms must be within {FENCE_TTL_MS_MIN} and {FENCE_TTL_MS_MAX}.",
                ttl_ms=request.ttl_ms,
            )
        name = fence_name_of(request.namespace, request.fence_id)
        keys = row_keys(name.namespace, request.ids[:], count_max=IDS_PER_FENCE_MAX)
        await self.writes.fence(request.session_id, name, keys, ttl_s=request.ttl_ms / 1000)
        return cache_pb2.FenceRowsResponse()

    async def SettleRows(
        self, request: cache_pb2.SettleRowsRequest, context: object
    ) -> cache_pb2.SettleRowsResponse:
        name = fence_name_of(request.namespace, request.fence_id)
        settled = await self.writes.settle(name, settlement_of(name.namespace, request))
        if settled.is_fence_lost or not request.is_partial:
            self.metrics.count_settlement(is_fence_lost=settled.is_fence_lost)
        return cache_pb2.SettleRowsResponse(
            stored_count=settled.stored_count, is_fence_lost=settled.is_fence_lost
        )

    async def InvalidateNamespace(
        self, request: cache_pb2.InvalidateNamespaceRequest, context: object
    ) -> cache_pb2.InvalidateNamespaceResponse:
        await self.writes.invalidate(request.session_id, parse_namespace(request.namespace))
        return cache_pb2.InvalidateNamespaceResponse()

    async def CountRows(
        self, request: cache_pb2.CountRowsRequest, context: object
    ) -> cache_pb2.CountRowsResponse:
        namespace = parse_namespace(request.namespace)
        row_count = await self.reads.count(namespace, selection_of(request.selection))
        return cache_pb2.CountRowsResponse(row_count=row_count)

    async def ScanRows(
        self, request: cache_pb2.ScanRowsRequest, context: object
    ) -> AsyncIterator[cache_pb2.ScanRowsResponse]:
        if request.page_size < 0:
            raise InvalidRequestError("PAGE_SIZE_INVALID", "page_size must not be negative.")
        pages = self.reads.scan(
            parse_namespace(request.namespace),
            page_size=request.page_size,
            projection=Projection(
                attribute_names=attribute_names_of(request.attribute_names),
                ids_only=request.ids_only,
            ),
            selection=selection_of(request.selection),
        )
        async for ids, bodies in pages:
            yield cache_pb2.ScanRowsResponse(ids=ids, bodies=bodies)

    async def GetStatistics(
        self, request: cache_pb2.GetStatisticsRequest, context: object
    ) -> cache_pb2.GetStatisticsResponse:
        figures = self.statistics.take()
        return cache_pb2.GetStatisticsResponse(
            backend=figures.store.backend,
            entry_count=figures.store.entry_count,
            disk_bytes=figures.store.disk_bytes,
            disk_bytes_max=figures.store.disk_bytes_max,
            member_count=figures.member_count,
            fence_count=figures.fence_count,
            is_suspended=figures.is_suspended,
            is_read_only=figures.store.is_read_only,
            last_error=figures.store.last_error,
            is_connected=figures.store.is_connected,
            generation=figures.store.generation,
            oversize_row_count=figures.oversize_count,
            record_count=figures.records.entry_count,
            record_disk_bytes=figures.records.disk_bytes,
            record_disk_bytes_max=figures.records.disk_bytes_max,
            warm_namespace_count=figures.warm_count,
        )

    async def look_up(self, request: cache_pb2.LookupRowsRequest) -> Found:
        """Look rows up, however they were asked for."""
        started_s = time.perf_counter()
        namespace, ids = parse_namespace(request.namespace), request.ids[:]
        found = await self.reads.lookup(namespace, ids, projection_of(request))
        self._count(namespace, len(ids), found, started_s)
        return found

    def look_up_now(self, request: cache_pb2.LookupRowsRequest) -> Found | None:
        """Do the same without a wait; None where there is one, or something is not as usual."""
        started_s = time.perf_counter()
        namespace, ids = parse_namespace(request.namespace), request.ids[:]
        found = self.reads.lookup_now(namespace, ids, projection_of(request))
        if found is not None:
            self._count(namespace, len(ids), found, started_s)
        return found

    def _count(
        self, namespace: Namespace, asked_count: int, found: Found, started_s: float
    ) -> None:
        self.metrics.count_lookup(
            namespace,
            asked=asked_count,
            found=len(found.positions),
            payload_bytes=found.payload_bytes,
            is_suspended=found.is_suspended,
            seconds=time.perf_counter() - started_s,
        )

    @property
    def _lease_ms(self) -> int:
        return int(self.sessions.members.lease_s * 1000)
