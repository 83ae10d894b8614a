"""The gRPC edge of records: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_cache.application.records import Records
from layer_cache.domain.limits import RECORD_BYTES_MAX, RECORD_TTL_MS_MAX
from layer_cache.domain.records import RecordKind, shelf
from layer_cache.rpc.columns import check_columns
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace

KINDS: Final[Mapping[int, RecordKind]] = {
    cache_pb2.RECORD_KIND_SNAPSHOT: RecordKind.SNAPSHOT,
    cache_pb2.RECORD_KIND_SEARCH_HISTORY: RecordKind.SEARCH_HISTORY,
    cache_pb2.RECORD_KIND_CLICKSTREAM: RecordKind.CLICKSTREAM,
    cache_pb2.RECORD_KIND_CHUNK: RecordKind.CHUNK,
    cache_pb2.RECORD_KIND_BLOB: RecordKind.BLOB,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordServicer(cache_pb2_grpc.RecordServiceServicer):
    """Serves ``layer.cache.v1.RecordService``."""

    records: Records

    async def PutRecords(
        self, request: cache_pb2.PutRecordsRequest, context: object
    ) -> cache_pb2.PutRecordsResponse:
        check_columns(keys=request.keys, values=request.values)
        if not 0 <= request.ttl_ms <= RECORD_TTL_MS_MAX:
            raise InvalidRequestError(
                "TTL_OUT_OF_RANGE",
                f"ttl_ms must be within 0 and {RECORD_TTL_MS_MAX}.",
                ttl_ms=request.ttl_ms,
            )
        if (largest := max(map(len, request.values), default=0)) > RECORD_BYTES_MAX:
            raise InvalidRequestError(
                "RECORD_TOO_LARGE",
                f"Each of values must have at most {RECORD_BYTES_MAX} bytes, not {largest}.",
                size_bytes=largest,
                bytes_max=RECORD_BYTES_MAX,
            )
        stored_count = await self.records.put(
            _shelf(request.kind, request.scope),
            request.keys,
            request.values,
            ttl_ms=request.ttl_ms,
        )
        return cache_pb2.PutRecordsResponse(stored_count=stored_count)

    async def GetRecords(
        self, request: cache_pb2.GetRecordsRequest, context: object
    ) -> cache_pb2.GetRecordsResponse:
        found = await self.records.get(
            _shelf(request.kind, request.scope), request.keys, sizes_only=request.sizes_only
        )
        return cache_pb2.GetRecordsResponse(
            hit_positions=found.positions, values=found.values, sizes_bytes=found.sizes_bytes
        )

    async def DeleteRecords(
        self, request: cache_pb2.DeleteRecordsRequest, context: object
    ) -> cache_pb2.DeleteRecordsResponse:
        await self.records.delete(_shelf(request.kind, request.scope), request.keys)
        return cache_pb2.DeleteRecordsResponse()

    async def ScanRecords(
        self, request: cache_pb2.ScanRecordsRequest, context: object
    ) -> AsyncIterator[cache_pb2.ScanRecordsResponse]:
        if request.page_size < 0:
            raise InvalidRequestError("PAGE_SIZE_INVALID", "page_size must not be negative.")
        pages = self.records.list(
            _shelf(request.kind, request.scope),
            key_prefix=request.key_prefix,
            page_size=request.page_size,
            keys_only=request.keys_only,
        )
        async for keys, values in pages:
            yield cache_pb2.ScanRecordsResponse(keys=keys, values=values)

    async def DropRecords(
        self, request: cache_pb2.DropRecordsRequest, context: object
    ) -> cache_pb2.DropRecordsResponse:
        await self.records.drop(_shelf(request.kind, request.scope))
        return cache_pb2.DropRecordsResponse()


def _shelf(kind: int, scope: str) -> Namespace:
    known = KINDS.get(kind)
    if known is None:
        raise InvalidRequestError(
            "KIND_INVALID", f"kind must be one of those known, not {kind}.", kind=kind
        )
    return shelf(known, scope)
