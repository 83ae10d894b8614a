"""Chunks of documents: one immutable object for each staging, and a copy of it in the cache.

The name of a staging is random and never used again, so a copy is never out of date and nothing has
to be taken back when a document is staged anew.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.rpc.client import invoke
from layer_objects import ObjectStore
from layer_runtime.domain.pipelines import Chunk, Pipeline

log = structlog.get_logger(__name__)

CACHE_S_MAX: Final = 0.5
CACHED_BYTES_MAX: Final = 16 * 1024 * 1024
CACHED_MS: Final = 24 * 3600 * 1000


class _Body(msgspec.Struct):
    id: str
    text: str | msgspec.UnsetType = msgspec.UNSET
    metadata: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, chunk: Chunk) -> _Body:
        return cls(
            chunk.id,
            msgspec.UNSET if chunk.text is None else chunk.text,
            msgspec.Raw(chunk.metadata) if chunk.metadata else msgspec.UNSET,
        )

    def chunk(self) -> Chunk:
        return Chunk(
            id=self.id,
            text=None if self.text is msgspec.UNSET else self.text,
            metadata=b"" if self.metadata is msgspec.UNSET else bytes(self.metadata),
        )


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(list[_Body])


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBodies:
    """Implements ``Chunks``.

    Attributes:
        caches: The replicas of the cache, any of which may be away; none where there is no cache.
    """

    objects: ObjectStore
    caches: Sequence[cache_pb2_grpc.RecordServiceStub]

    async def put(self, pipeline: Pipeline, chunks: Sequence[Chunk]) -> bytes:
        payload = uuid.uuid4().bytes
        body = _ENCODER.encode([_Body.of(chunk) for chunk in chunks])
        await self.objects.put(_key(pipeline, payload), body, content_type="application/json")
        if self.caches and len(body) <= CACHED_BYTES_MAX:
            request = cache_pb2.PutRecordsRequest(
                kind=cache_pb2.RECORD_KIND_CHUNK,
                scope=pipeline.id,
                keys=[payload],
                values=[body],
                ttl_ms=CACHED_MS,
            )
            try:
                await invoke(self._cache(payload).PutRecords, request, timeout_s=CACHE_S_MAX)
            except LayerError as error:  # it is read from the object store then
                log.debug("chunks_not_cached", reason=error.reason)
        return payload

    async def get(self, pipeline: Pipeline, payload: bytes) -> Sequence[Chunk] | None:
        body = await self._cached(pipeline, payload)
        if body is None:
            stored = await self.objects.get(_key(pipeline, payload))
            if stored is None:
                return None
            body = stored.body
        return [one.chunk() for one in _DECODER.decode(body)]

    async def delete(self, pipeline: Pipeline, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            try:
                await self.objects.delete(_key(pipeline, payload))
            except LayerError as error:  # it goes with the pipeline
                log.warning("chunks_left_behind", pipeline=pipeline.id, reason=error.reason)

    async def drop(self, pipeline_id: str, number: int) -> None:
        """Remove everything of a pipeline that is gone."""
        await self.objects.delete_prefix(f"{_folder(pipeline_id, number)}/")

    async def _cached(self, pipeline: Pipeline, payload: bytes) -> bytes | None:
        if not self.caches:
            return None
        request = cache_pb2.GetRecordsRequest(
            kind=cache_pb2.RECORD_KIND_CHUNK, scope=pipeline.id, keys=[payload]
        )
        try:
            found = await invoke(self._cache(payload).GetRecords, request, timeout_s=CACHE_S_MAX)
        except LayerError:
            return None
        return found.values[0] if found.values else None

    def _cache(self, payload: bytes) -> cache_pb2_grpc.RecordServiceStub:
        return self.caches[payload[0] % len(self.caches)]


def _key(pipeline: Pipeline, payload: bytes) -> str:
    return f"{_folder(pipeline.id, pipeline.number)}/{payload.hex()}.json"


def _folder(pipeline_id: str, number: int) -> str:
    # An id may be `..`, which is no part of a key.
    return f"pipelines/{number}-{pipeline_id}"
