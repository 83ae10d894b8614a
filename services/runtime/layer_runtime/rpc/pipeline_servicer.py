"""The gRPC service of pipelines: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace
from layer_runtime.application.documents import PipelineDocuments
from layer_runtime.application.pipeline_registry import PipelineRegistry
from layer_runtime.domain.names import parse_worker_id
from layer_runtime.domain.pipelines import (
    CREATED_IDS_MAX,
    EMBEDDING,
    IDS_MAX,
    PENDING,
    Guard,
    parse_claimed_stage,
    parse_document_id,
    parse_document_ids,
    parse_reason,
    parse_stage,
)
from layer_runtime.rpc.pipeline_parsing import (
    page_token,
    parse_chunks,
    parse_distance,
    parse_lease_s,
    parse_limit,
    parse_page_size,
    parse_page_token,
    parse_rows,
)
from layer_runtime.rpc.pipeline_rendering import (
    chunk_message,
    failed_message,
    pipeline_message,
    status_message,
)

PAGE_SIZE_DEFAULT: Final = 100
PAGE_SIZE_MAX: Final = 1000
CHUNK_PAGE_SIZE_DEFAULT: Final = 1000
CHUNK_PAGE_SIZE_MAX: Final = 10_000
PREFIX_BYTES_MAX: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineServicer(runtime_pb2_grpc.PipelineServiceServicer):
    """Serves ``layer.runtime.v1.PipelineService``."""

    registry: PipelineRegistry
    documents: PipelineDocuments

    async def CreatePipeline(
        self, request: runtime_pb2.CreatePipelineRequest, context: object
    ) -> runtime_pb2.CreatePipelineResponse:
        pipeline = await self.registry.create(
            request.pipeline_id,
            parse_namespace(request.target_namespace),
            parse_distance(request.distance_metric),
            cron=request.cron,
        )
        return runtime_pb2.CreatePipelineResponse(pipeline=pipeline_message(pipeline))

    async def GetPipeline(
        self, request: runtime_pb2.GetPipelineRequest, context: object
    ) -> runtime_pb2.GetPipelineResponse:
        pipeline = await self.registry.get(request.pipeline_id)
        return runtime_pb2.GetPipelineResponse(pipeline=pipeline_message(pipeline))

    async def ListPipelines(
        self, request: runtime_pb2.ListPipelinesRequest, context: object
    ) -> runtime_pb2.ListPipelinesResponse:
        size = _page_size(request.page_size)
        after = parse_page_token(request.page_token)
        found = await self.registry.page(after=after, limit=size + 1)
        return runtime_pb2.ListPipelinesResponse(
            pipelines=[pipeline_message(pipeline) for pipeline in found[:size]],
            next_page_token=page_token(found[size - 1].id) if len(found) > size else "",
        )

    async def DeletePipeline(
        self, request: runtime_pb2.DeletePipelineRequest, context: object
    ) -> runtime_pb2.DeletePipelineResponse:
        await self.registry.delete(request.pipeline_id)
        return runtime_pb2.DeletePipelineResponse()

    async def GetPipelineStatus(
        self, request: runtime_pb2.GetPipelineStatusRequest, context: object
    ) -> runtime_pb2.GetPipelineStatusResponse:
        return status_message(await self.registry.status(request.pipeline_id))

    async def StageDocument(
        self, request: runtime_pb2.StageDocumentRequest, context: object
    ) -> runtime_pb2.StageDocumentResponse:
        chunks = parse_chunks(request.chunks)
        document_id = parse_document_id(request.document_id)
        await self.documents.stage(request.pipeline_id, document_id, chunks)
        return runtime_pb2.StageDocumentResponse(
            stage=PENDING, chunk_ids=[chunk.id for chunk in chunks]
        )

    async def ListChunks(
        self, request: runtime_pb2.ListChunksRequest, context: object
    ) -> runtime_pb2.ListChunksResponse:
        size = parse_page_size(
            request.page_size, default=CHUNK_PAGE_SIZE_DEFAULT, size_max=CHUNK_PAGE_SIZE_MAX
        )
        first = _position(request.page_token)
        chunks = await self.documents.read(
            request.pipeline_id, parse_document_id(request.document_id)
        )
        last = first + size
        return runtime_pb2.ListChunksResponse(
            chunks=[chunk_message(chunk) for chunk in chunks[first:last]],
            next_page_token=page_token(str(last)) if last < len(chunks) else "",
        )

    async def ClaimDocuments(
        self, request: runtime_pb2.ClaimDocumentsRequest, context: object
    ) -> runtime_pb2.ClaimDocumentsResponse:
        prefix = request.document_id_prefix
        if len(prefix.encode()) > PREFIX_BYTES_MAX or "\0" in prefix:
            raise InvalidRequestError(
                "PREFIX_INVALID",
                f"document_id_prefix is not up to {PREFIX_BYTES_MAX} bytes without NUL.",
                field="document_id_prefix",
            )
        claimed = await self.documents.claim(
            request.pipeline_id,
            stage=parse_claimed_stage(request.stage or PENDING, "stage"),
            claim_stage=parse_claimed_stage(request.claim_stage or EMBEDDING, "claim_stage"),
            limit=parse_limit(request.limit),
            worker=parse_worker_id(request.worker_id),
            lease_s=parse_lease_s(request.lease_s),
            prefix=prefix,
        )
        return runtime_pb2.ClaimDocumentsResponse(
            document_ids=claimed.document_ids, lease_token=claimed.lease
        )

    async def HeartbeatDocuments(
        self, request: runtime_pb2.HeartbeatDocumentsRequest, context: object
    ) -> runtime_pb2.HeartbeatDocumentsResponse:
        guard = Guard(
            stage=parse_stage(request.stage or EMBEDDING, "stage"),
            worker=parse_worker_id(request.worker_id),
            lease=request.lease_token or None,
        )
        ids = parse_document_ids(request.document_ids)
        count = await self.documents.heartbeat(request.pipeline_id, ids, guard)
        return runtime_pb2.HeartbeatDocumentsResponse(updated_count=count)

    async def MoveDocuments(
        self, request: runtime_pb2.MoveDocumentsRequest, context: object
    ) -> runtime_pb2.MoveDocumentsResponse:
        from_stage, worker = request.from_stage, request.worker_id
        guard = Guard(
            stage=parse_stage(from_stage, "from_stage") if from_stage else None,
            worker=parse_worker_id(worker) if worker else None,
            lease=request.lease_token or None,
        )
        ids_max = CREATED_IDS_MAX if request.creates_missing else IDS_MAX
        count = await self.documents.move(
            request.pipeline_id,
            parse_document_ids(request.document_ids, count_max=ids_max),
            parse_stage(request.stage, "stage"),
            guard,
            reason=parse_reason(
                request.reason, request.stage, creates_missing=request.creates_missing
            ),
            creates_missing=request.creates_missing,
        )
        return runtime_pb2.MoveDocumentsResponse(updated_count=count)

    async def WriteVectors(
        self, request: runtime_pb2.WriteVectorsRequest, context: object
    ) -> runtime_pb2.WriteVectorsResponse:
        rows = parse_rows(request.vectors)
        document_id = parse_document_id(request.document_id)
        lease = request.lease_token or None
        await self.documents.write(request.pipeline_id, document_id, rows, lease)
        return runtime_pb2.WriteVectorsResponse(written_count=len(rows))

    async def ListFailedDocuments(
        self, request: runtime_pb2.ListFailedDocumentsRequest, context: object
    ) -> runtime_pb2.ListFailedDocumentsResponse:
        size = _page_size(request.page_size)
        after = parse_page_token(request.page_token)
        found = await self.documents.failed(request.pipeline_id, after=after, limit=size + 1)
        return runtime_pb2.ListFailedDocumentsResponse(
            documents=[failed_message(document) for document in found[:size]],
            next_page_token=page_token(found[size - 1].id) if len(found) > size else "",
        )


def _page_size(size: int) -> int:
    return parse_page_size(size, default=PAGE_SIZE_DEFAULT, size_max=PAGE_SIZE_MAX)


def _position(token: str) -> int:
    text = parse_page_token(token) or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004
        raise InvalidRequestError("PAGE_TOKEN_INVALID", "page_token is not one of an answer.")
    return int(text)
