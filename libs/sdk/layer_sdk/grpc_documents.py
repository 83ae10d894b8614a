"""The documents of a pipeline by gRPC."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_sdk.connection import Connection
from layer_sdk.grpc_calls import invoke, open_runtime
from layer_sdk.items import Chunk, Row
from layer_sdk.transport import Claim
from layer_sdk.values import to_value, to_vector

CHUNK_PAGE_SIZE: Final = 1000


class GrpcDocuments:
    """The documents of one pipeline."""

    def __init__(self, to: Connection, pipeline_id: str) -> None:
        self._channel = open_runtime(to)
        self._stub = runtime_pb2_grpc.PipelineServiceStub(self._channel)
        self._pipeline_id = pipeline_id
        self._worker_id = to.worker_id

    async def claim(self, stage: str, claim_stage: str, limit: int, lease_s: int) -> Claim:
        request = runtime_pb2.ClaimDocumentsRequest(
            pipeline_id=self._pipeline_id,
            worker_id=self._worker_id,
            stage=stage,
            claim_stage=claim_stage,
            limit=limit,
            lease_s=lease_s,
        )
        answer = await invoke(self._stub.ClaimDocuments, request)
        return Claim(list(answer.document_ids), answer.lease_token)

    async def heartbeat(self, claim: Claim, ids: Sequence[str], stage: str) -> int:
        request = runtime_pb2.HeartbeatDocumentsRequest(
            pipeline_id=self._pipeline_id,
            worker_id=self._worker_id,
            document_ids=ids,
            stage=stage,
            lease_token=claim.lease_token,
        )
        return int((await invoke(self._stub.HeartbeatDocuments, request)).updated_count)

    async def chunks(self, document_id: str) -> Sequence[Chunk]:
        request = runtime_pb2.ListChunksRequest(
            pipeline_id=self._pipeline_id, document_id=document_id, page_size=CHUNK_PAGE_SIZE
        )
        found: list[Chunk] = []
        while True:
            page = await invoke(self._stub.ListChunks, request)
            found += map(_chunk, page.chunks)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def write(self, claim: Claim, document_id: str, rows: Sequence[Row]) -> None:
        request = runtime_pb2.WriteVectorsRequest(
            pipeline_id=self._pipeline_id,
            document_id=document_id,
            vectors=map(_row, rows),
            lease_token=claim.lease_token,
        )
        await invoke(self._stub.WriteVectors, request)

    async def move(
        self, claim: Claim, ids: Sequence[str], stage: str, *, from_stage: str, reason: str = ""
    ) -> int:
        request = runtime_pb2.MoveDocumentsRequest(
            pipeline_id=self._pipeline_id,
            document_ids=ids,
            stage=stage,
            from_stage=from_stage,
            worker_id=self._worker_id,
            lease_token=claim.lease_token,
            reason=reason,
        )
        return int((await invoke(self._stub.MoveDocuments, request)).updated_count)

    async def aclose(self) -> None:
        await self._channel.close()


def _chunk(message: runtime_pb2.Chunk) -> Chunk:
    return Chunk(
        message.chunk_id,
        message.text if message.HasField("text") else None,
        json.loads(message.metadata_json) if message.metadata_json else None,
    )


def _row(row: Row) -> runtime_pb2.ChunkVector:
    message = runtime_pb2.ChunkVector(row_id=row.id)
    for name, value in row.attributes.items():
        message.attributes[name].CopyFrom(to_value(value))
    if row.vector is not None:
        message.vector.CopyFrom(to_vector(row.vector))
    if row.vectors is not None:
        message.vectors.vectors.extend(map(to_vector, row.vectors))
    return message
