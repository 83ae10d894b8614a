"""The gRPC edge of rows: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_cache.application.reads import Found, Projection, Reads, Selection
from layer_cache.application.sessions import DirtySet, Sessions
from layer_cache.application.statistics import Statistics
from layer_cache.application.writes import Settlement, Writes
from layer_cache.domain.fences import FenceName
from layer_cache.domain.limits import (
    ATTRIBUTE_NAMES_MAX,
    DIRTY_IDS_MAX,
    DIRTY_NAMESPACES_MAX,
    FENCE_ID_BYTES_MAX,
    FENCE_TTL_MS_MAX,
    FENCE_TTL_MS_MIN,
    IDS_PER_FENCE_MAX,
    RING_BYTES_MAX,
)
from layer_cache.domain.rows import RowKey, row_keys
from layer_cache.metrics import CacheMetrics
from layer_cache.rpc.columns import check_columns
from layer_cache.rpc.lookups import LookupStream, render
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace, parse_namespace
from layer_wire.filters import both, upserted_until
from layer_wire.jsontext import Raw
from layer_wire.reserved import UPSERTED_AT
from layer_wire.row_filters import compile_filter


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheServicer(cache_pb2_grpc.CacheServiceServicer):
    """Serves ``layer.cache.v1.CacheService``.

    Args:
        draining: Set when the process is about to stop; streams of lookups end then.
    """

    reads: Reads
    writes: Writes
    sessions: Sessions
    statistics: Statistics
    metrics: CacheMetrics
    draining: asyncio.Event

    async def OpenSession(
        self, request: cache_pb2.OpenSessionRequest, context: object
    ) -> cache_pb2.OpenSessionResponse:
        if len(request.ring) > RING_BYTES_MAX:
            raise InvalidRequestError(
                "RING_INVALID", f"ring has at most {RING_BYTES_MAX} bytes.", field="ring"
            )
        session_id = await self.sessions.open(
            request.member_id,
            _dirty_set(request),
            is_returning=request.is_returning,
            ring=request.ring,
        )
        return cache_pb2.OpenSessionResponse(
            session_id=session_id,
            lease_ms=self._lease_ms,
            incarnation=self.reads.order.incarnation.hex(),
            declared_gone_ms=int(self.sessions.members.declared_gone_s * 1000),
            is_ring_mixed=self.sessions.members.is_ring_mixed,
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
        render(await self._look_up(request), response)
        return response

    async def StreamLookups(
        self, requests: AsyncIterator[cache_pb2.StreamLookupsRequest], context: object
    ) -> AsyncIterator[cache_pb2.StreamLookupsResponse]:
        async for response in LookupStream(self._look_up, self.draining).answers(requests):
            yield response

    async def BackfillRows(
        self, request: cache_pb2.BackfillRowsRequest, context: object
    ) -> cache_pb2.BackfillRowsResponse:
        ids, bodies = list(request.ids), list(request.bodies)
        vectors = _vectors(list(request.vectors), len(ids))
        check_columns(ids=ids, bodies=bodies, vectors=vectors)
        stored_count = await self.reads.backfill(
            parse_namespace(request.namespace), request.read_token, ids, bodies, vectors
        )
        self.metrics.count_backfill(stored=stored_count, refused=len(ids) - stored_count)
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
        name = _fence_name(request.namespace, request.fence_id)
        keys = row_keys(name.namespace, request.ids, count_max=IDS_PER_FENCE_MAX)
        await self.writes.fence(request.session_id, name, keys, ttl_s=request.ttl_ms / 1000)
        return cache_pb2.FenceRowsResponse()

    async def SettleRows(
        self, request: cache_pb2.SettleRowsRequest, context: object
    ) -> cache_pb2.SettleRowsResponse:
        name = _fence_name(request.namespace, request.fence_id)
        settled = await self.writes.settle(name, _settlement(name.namespace, request))
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
        row_count = await self.reads.count(namespace, _selection(request.selection))
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
                attribute_names=_attribute_names(request.attribute_names),
                ids_only=request.ids_only,
            ),
            selection=_selection(request.selection),
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
            oversize_row_count=figures.store.oversize_count,
            record_count=figures.records.entry_count,
            record_disk_bytes=figures.records.disk_bytes,
            record_disk_bytes_max=figures.records.disk_bytes_max,
            warm_namespace_count=figures.warm_count,
        )

    async def _look_up(self, request: cache_pb2.LookupRowsRequest) -> Found:
        started_s = time.perf_counter()
        namespace, ids = parse_namespace(request.namespace), list(request.ids)
        found = await self.reads.lookup(
            namespace,
            ids,
            Projection(
                with_vectors=request.with_vectors,
                attribute_names=_attribute_names(request.attribute_names),
                ids_only=request.ids_only,
            ),
        )
        self.metrics.count_lookup(
            namespace,
            asked=len(ids),
            payload=found.bodies,
            is_suspended=found.is_suspended,
            seconds=time.perf_counter() - started_s,
        )
        return found

    @property
    def _lease_ms(self) -> int:
        return int(self.sessions.members.lease_s * 1000)


def _dirty_set(request: cache_pb2.OpenSessionRequest) -> DirtySet:
    names, ids = request.dirty_id_namespaces, request.dirty_ids
    check_columns(dirty_id_namespaces=names, dirty_ids=ids)
    if len(ids) > DIRTY_IDS_MAX or len(request.dirty_namespaces) > DIRTY_NAMESPACES_MAX:
        raise InvalidRequestError(
            "TOO_MANY_DIRTY_IDS",
            f"Above {DIRTY_IDS_MAX} dirty ids name namespaces instead, and above "
            f"{DIRTY_NAMESPACES_MAX} of those say that everything is dirty.",
            ids_max=DIRTY_IDS_MAX,
            namespaces_max=DIRTY_NAMESPACES_MAX,
        )
    by_namespace: dict[str, list[bytes]] = {}
    for name, row_id in zip(names, ids, strict=True):
        by_namespace.setdefault(name, []).append(row_id)
    return DirtySet(
        keys=[
            key
            for name, ids_of_one in by_namespace.items()
            for key in row_keys(parse_namespace(name), ids_of_one, count_max=DIRTY_IDS_MAX)
        ],
        namespaces=[parse_namespace(name) for name in request.dirty_namespaces],
        is_everything=request.is_everything_dirty,
    )


def _settlement(namespace: Namespace, request: cache_pb2.SettleRowsRequest) -> Settlement:
    vectors = _vectors(request.put_vectors, len(request.put_ids))
    check_columns(put_ids=request.put_ids, put_bodies=request.put_bodies, put_vectors=vectors)
    check_columns(patch_ids=request.patch_ids, patch_bodies=request.patch_bodies)

    def keys(ids: Sequence[bytes]) -> list[RowKey]:
        return row_keys(namespace, ids, count_max=IDS_PER_FENCE_MAX)

    rows = zip(request.put_bodies, vectors, strict=True)
    return Settlement(
        puts=dict(zip(keys(request.put_ids), rows, strict=True)),
        patches=dict(zip(keys(request.patch_ids), request.patch_bodies, strict=True)),
        lifts=frozenset(keys(request.lift_ids)),
        is_outcome_known=request.is_outcome_known,
    )


def _fence_name(namespace: str, fence_id: bytes) -> FenceName:
    if not 1 <= len(fence_id) <= FENCE_ID_BYTES_MAX:
        raise InvalidRequestError(
            "FENCE_ID_INVALID",
            f"A fence id must have 1 to {FENCE_ID_BYTES_MAX} bytes.",
            bytes_max=FENCE_ID_BYTES_MAX,
        )
    return FenceName(parse_namespace(namespace), fence_id)


def _selection(asked: cache_pb2.RowSelection) -> Selection:
    kept = Raw(asked.filter) if asked.filter else None
    types = dict(asked.attribute_types)
    if asked.HasField("upserted_until_ms"):
        kept = both(kept, upserted_until(asked.upserted_until_ms))
        types[UPSERTED_AT] = "int"
    return Selection(filter=None if kept is None else compile_filter(kept, types))


def _attribute_names(names: Sequence[str]) -> Sequence[str]:
    if len(names) > ATTRIBUTE_NAMES_MAX:
        raise InvalidRequestError(
            "TOO_MANY_ATTRIBUTES",
            f"Name at most {ATTRIBUTE_NAMES_MAX} attributes, or none for all.",
            count_max=ATTRIBUTE_NAMES_MAX,
        )
    if "" in names:
        raise InvalidRequestError(
            "ATTRIBUTE_NAME_INVALID", "None of attribute_names may be empty; name none for all."
        )
    return names


def _vectors(vectors: Sequence[bytes], count: int) -> Sequence[bytes]:
    """Return the column, filled up when it was left out altogether."""
    return vectors or [b""] * count
