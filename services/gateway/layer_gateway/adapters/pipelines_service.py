"""The runtime service as the place of pipelines, in the contract's words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_gateway.adapters.function_specs import rfc3339, window_json
from layer_gateway.adapters.no_pipelines import off
from layer_gateway.adapters.pipeline_rows import row_messages, vector_messages
from layer_kit.errors import LayerError, UnavailableError, UnsupportedError, UpstreamError
from layer_kit.rpc.client import invoke
from layer_wire import pipelines as wire
from layer_wire.jsontext import Raw, is_null

OBJECT_STORE_FAILED: Final = "OBJECT_STORE_FAILED"

Json = dict[str, object]
Response = TypeVar("Response")

LIST_PAGE_SIZE: Final = 1000
CHUNKS_PAGE_SIZE: Final = 10_000
CLAIM_LIMIT_MAX: Final = 1000
PENDING: Final = "pending"
EMBEDDING: Final = "embedding"
_DISTANCES: Final[dict[wire.Distance, common_pb2.DistanceMetric.ValueType]] = {
    "cosine_distance": common_pb2.DISTANCE_METRIC_COSINE_DISTANCE,
    "euclidean_squared": common_pb2.DISTANCE_METRIC_EUCLIDEAN_SQUARED,
}
_DISTANCE_NAMES: Final = {value: name for name, value in _DISTANCES.items()}
_STATES: Final = {
    runtime_pb2.PIPELINE_STATE_IDLE: "idle",
    runtime_pb2.PIPELINE_STATE_PENDING: "pending",
    runtime_pb2.PIPELINE_STATE_WAITING_ON_UPSTREAM: "waiting_on_upstream",
}


class PipelinesService:
    """Asks the service, and renders what it answers as the routes of pipelines do."""

    def __init__(self, stub: runtime_pb2_grpc.PipelineServiceStub, *, timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def create(self, body: wire.CreatePipeline) -> Json:
        request = runtime_pb2.CreatePipelineRequest(
            pipeline_id=body.id,
            target_namespace=body.target_namespace,
            distance_metric=_DISTANCES[body.distance_metric or "cosine_distance"],
            cron=(body.schedule.cron if body.schedule else None) or "",
        )
        return _pipeline_json((await self._call(self._stub.CreatePipeline, request)).pipeline)

    async def list(self) -> Json:
        request = runtime_pb2.ListPipelinesRequest(page_size=LIST_PAGE_SIZE)
        found: list[Json] = []
        while True:
            page = await self._call(self._stub.ListPipelines, request)
            found += [_pipeline_json(pipeline) for pipeline in page.pipelines]
            if not page.next_page_token:
                return {"pipelines": found}
            request.page_token = page.next_page_token

    async def delete(self, pipeline_id: str) -> None:
        request = runtime_pb2.DeletePipelineRequest(pipeline_id=pipeline_id)
        await self._call(self._stub.DeletePipeline, request)

    async def status(self, pipeline_id: str) -> Json:
        request = runtime_pb2.GetPipelineStatusRequest(pipeline_id=pipeline_id)
        found = await self._call(self._stub.GetPipelineStatus, request)
        window = {"schedule": window_json(found.window)} if found.HasField("window") else {}
        return {
            "pipeline_id": pipeline_id,
            "status": _STATES[found.state],
            "counts": dict(found.stage_counts),
            "failed_reasons": dict(found.failed_reason_counts),
            "pending_count": found.pending_count,
            "processing_count": found.processing_count,
            "failed_count": found.failed_count,
            "indexed_rate_per_min": found.indexed_per_minute,
            "rate_window_seconds": found.rate_window_s,
            **window,
        }

    async def stage(self, pipeline_id: str, document_id: str, body: wire.StageDocument) -> Json:
        request = runtime_pb2.StageDocumentRequest(
            pipeline_id=pipeline_id,
            document_id=document_id,
            chunks=[_chunk_message(chunk) for chunk in body.chunks],
        )
        found = await self._call(self._stub.StageDocument, request)
        return {
            "pipeline_id": pipeline_id,
            "document_id": document_id,
            "stage": found.stage,
            "chunk_count": len(found.chunk_ids),
            "chunk_ids": list(found.chunk_ids),
        }

    async def chunks(self, pipeline_id: str, document_id: str) -> Sequence[Json]:
        request = runtime_pb2.ListChunksRequest(
            pipeline_id=pipeline_id, document_id=document_id, page_size=CHUNKS_PAGE_SIZE
        )
        found: list[Json] = []
        while True:
            page = await self._call(self._stub.ListChunks, request)
            found += [_chunk_json(chunk) for chunk in page.chunks]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def claim(self, pipeline_id: str, body: wire.ClaimDocuments) -> Json:
        stage, claim_stage = body.stage or PENDING, body.claim_stage or EMBEDDING
        request = runtime_pb2.ClaimDocumentsRequest(
            pipeline_id=pipeline_id,
            worker_id=body.worker_id,
            stage=stage,
            claim_stage=claim_stage,
            limit=min(body.limit or wire.CLAIM_LIMIT_DEFAULT, CLAIM_LIMIT_MAX),
            lease_s=body.lease_seconds or 0,
            document_id_prefix=body.document_id_prefix or "",
        )
        found = await self._call(self._stub.ClaimDocuments, request)
        return {
            "pipeline_id": pipeline_id,
            "stage": stage,
            "claim_stage": claim_stage,
            "worker_id": body.worker_id,
            "documents": list(found.document_ids),
            "lease_token": found.lease_token,
        }

    async def heartbeat(self, pipeline_id: str, body: wire.HeartbeatDocuments) -> Json:
        stage = body.stage or EMBEDDING
        if not body.document_ids:
            return _updated(pipeline_id, stage, 0)
        request = runtime_pb2.HeartbeatDocumentsRequest(
            pipeline_id=pipeline_id,
            worker_id=body.worker_id,
            document_ids=body.document_ids,
            stage=stage,
            lease_token=body.lease_token or 0,
        )
        found = await self._call(self._stub.HeartbeatDocuments, request)
        return _updated(pipeline_id, stage, found.updated_count)

    async def move(self, pipeline_id: str, body: wire.MoveDocuments) -> Json:
        if not body.document_ids:
            return _updated(pipeline_id, body.stage, 0)
        request = runtime_pb2.MoveDocumentsRequest(
            pipeline_id=pipeline_id,
            document_ids=body.document_ids,
            stage=body.stage,
            from_stage=body.from_stage or "",
            worker_id=body.worker_id or "",
            creates_missing=bool(body.create_missing),
            reason=body.reason or "",
            lease_token=body.lease_token or 0,
        )
        found = await self._call(self._stub.MoveDocuments, request)
        return _updated(pipeline_id, body.stage, found.updated_count)

    async def write_vectors(
        self, pipeline_id: str, document_id: str, body: wire.WriteVectors
    ) -> int:
        rows = vector_messages(body.vectors)
        return await self._write(pipeline_id, document_id, rows, body.lease_token)

    async def write_rows(self, pipeline_id: str, document_id: str, body: wire.WriteRows) -> int:
        rows = row_messages(body.rows)
        return await self._write(pipeline_id, document_id, rows, body.lease_token)

    async def failed(self, pipeline_id: str, *, limit: int, page_token: str) -> Json:
        request = runtime_pb2.ListFailedDocumentsRequest(
            pipeline_id=pipeline_id, page_size=limit, page_token=page_token
        )
        found = await self._call(self._stub.ListFailedDocuments, request)
        return {
            "pipeline_id": pipeline_id,
            "documents": [
                {
                    "id": document.document_id,
                    "reason": document.reason,
                    "attempts": document.attempt_count,
                    "failed_at": rfc3339(document.fail_time),
                }
                for document in found.documents
            ],
            "next_cursor": found.next_page_token or None,
        }

    async def _write(
        self,
        pipeline_id: str,
        document_id: str,
        rows: Sequence[runtime_pb2.ChunkVector],
        lease_token: int | None,
    ) -> int:
        request = runtime_pb2.WriteVectorsRequest(
            pipeline_id=pipeline_id,
            document_id=document_id,
            vectors=rows,
            lease_token=lease_token or 0,
        )
        return (await self._call(self._stub.WriteVectors, request)).written_count

    async def _call(self, method: Callable[..., Awaitable[Response]], request: object) -> Response:
        try:
            return await invoke(method, request, timeout_s=self._timeout_s)
        except UnsupportedError as error:  # the service runs without a database
            raise off() from error
        except UnavailableError as error:
            raise _shown_error(error) from None


def _shown_error(error: UnavailableError) -> LayerError:
    """Return what is answered: the contract has 502 for an object store that fails."""
    if error.reason != OBJECT_STORE_FAILED:
        return error
    failed = UpstreamError(error.reason, error.message)
    failed.metadata = error.metadata
    return failed


def _pipeline_json(pipeline: runtime_pb2.Pipeline) -> Json:
    return {
        "id": pipeline.pipeline_id,
        "target_namespace": pipeline.target_namespace,
        "distance_metric": _DISTANCE_NAMES[pipeline.distance_metric],
        "created_at": rfc3339(pipeline.create_time),
        **({"schedule": {"cron": pipeline.cron}} if pipeline.cron else {}),
    }


def _chunk_message(chunk: wire.Chunk) -> runtime_pb2.Chunk:
    metadata = b"" if is_null(chunk.metadata) else bytes(chunk.metadata)
    return runtime_pb2.Chunk(chunk_id=chunk.id, text=chunk.text, metadata_json=metadata)


def _chunk_json(chunk: runtime_pb2.Chunk) -> Json:
    found: Json = {"id": chunk.chunk_id}
    if chunk.HasField("text"):
        found["text"] = chunk.text
    if chunk.metadata_json:
        found["metadata"] = Raw(chunk.metadata_json)
    return found


def _updated(pipeline_id: str, stage: str, count: int) -> Json:
    return {"pipeline_id": pipeline_id, "stage": stage, "updated": count}
