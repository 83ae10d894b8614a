"""Near copies of snapshots and blobs, in a cache that keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_gateway.adapters.warmth import RECORD_BYTES_MAX, RecordsClient
from layer_gateway.ports.warmth import RecordKind


@dataclass
class KeepingRecords:
    """Has the methods of a stub."""

    kept: dict[bytes, bytes] = field(default_factory=dict)

    async def PutRecords(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.PutRecordsRequest, **_: object
    ) -> cache_pb2.PutRecordsResponse:
        assert all(len(value) <= RECORD_BYTES_MAX for value in request.values)
        self.kept |= dict(zip(request.keys, request.values, strict=True))
        return cache_pb2.PutRecordsResponse(stored_count=len(request.keys))

    async def DeleteRecords(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.DeleteRecordsRequest, **_: object
    ) -> cache_pb2.DeleteRecordsResponse:
        for key in request.keys:
            self.kept.pop(key, None)
        return cache_pb2.DeleteRecordsResponse()


async def test_what_is_too_large_for_a_record_leaves_none_in_its_place() -> None:
    cache = KeepingRecords()
    records = RecordsClient({"cache": cast("cache_pb2_grpc.RecordServiceStub", cache)})
    await records.put(RecordKind.SNAPSHOT, "books", b"latest", b"old")
    assert cache.kept == {b"latest": b"old"}

    await records.put(RecordKind.SNAPSHOT, "books", b"latest", b"x" * (RECORD_BYTES_MAX + 1))

    assert cache.kept == {}
