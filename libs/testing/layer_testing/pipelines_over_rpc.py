"""Pipelines over gRPC, in the form that both transports share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.rpc.client import invoke
from layer_testing.gateway_calls import text as text_value
from layer_testing.gateway_calls import vector as vector_message
from layer_testing.namespace_transports import RefusedError
from layer_testing.pipeline_transports import Lost, Made, Piece, Taken, Vector, Work

CALL_S_MAX: Final = 20.0
_METRICS: Final = {
    "": common_pb2.DISTANCE_METRIC_UNSPECIFIED,
    "cosine_distance": common_pb2.DISTANCE_METRIC_COSINE_DISTANCE,
    "euclidean_squared": common_pb2.DISTANCE_METRIC_EUCLIDEAN_SQUARED,
}
_METRIC_NAMES: Final = {value: name for name, value in _METRICS.items()}
_STATES: Final = {
    runtime_pb2.PIPELINE_STATE_IDLE: "idle",
    runtime_pb2.PIPELINE_STATE_PENDING: "pending",
    runtime_pb2.PIPELINE_STATE_WAITING_ON_UPSTREAM: "waiting_on_upstream",
}


class PipelinesOverRpc:
    """The runtime service itself."""

    def __init__(self, stub: runtime_pb2_grpc.PipelineServiceStub) -> None:
        self._stub = stub

    async def create(self, name: str, namespace: str, metric: str = "") -> Made:
        found = await self._call(
            "CreatePipeline",
            pipeline_id=name,
            target_namespace=namespace,
            distance_metric=_METRICS[metric],
        )
        got = await self._call("GetPipeline", pipeline_id=name)
        assert got.pipeline == found.pipeline
        return _made_of(found.pipeline)

    async def all(self) -> Sequence[Made]:
        found: list[Made] = []
        token = ""
        while True:
            page = await self._call("ListPipelines", page_size=1, page_token=token)
            found += map(_made_of, page.pipelines)
            token = page.next_page_token
            if not token:
                return found

    async def delete(self, name: str) -> None:
        await self._call("DeletePipeline", pipeline_id=name)

    async def work(self, name: str) -> Work:
        found = await self._call("GetPipelineStatus", pipeline_id=name)
        return Work(
            state=_STATES[found.state],
            counts=dict(found.stage_counts),
            reasons=dict(found.failed_reason_counts),
            pending=found.pending_count,
            processing=found.processing_count,
            failed=found.failed_count,
            per_minute=found.indexed_per_minute,
            window_s=found.rate_window_s,
        )

    async def stage(self, name: str, document: str, pieces: Sequence[Piece]) -> Sequence[str]:
        chunks = [
            runtime_pb2.Chunk(
                chunk_id=piece.id,
                text=piece.text,
                metadata_json=b""
                if piece.metadata is None
                else json.dumps(piece.metadata).encode(),
            )
            for piece in pieces
        ]
        found = await self._call(
            "StageDocument", pipeline_id=name, document_id=document, chunks=chunks
        )
        assert found.stage == "pending"
        return list(found.chunk_ids)

    async def chunks(self, name: str, document: str) -> Sequence[Piece]:
        found: list[Piece] = []
        token = ""
        while True:
            page = await self._call(
                "ListChunks", pipeline_id=name, document_id=document, page_size=1, page_token=token
            )
            found += [
                Piece(
                    chunk.chunk_id,
                    chunk.text if chunk.HasField("text") else None,
                    json.loads(chunk.metadata_json) if chunk.metadata_json else None,
                )
                for chunk in page.chunks
            ]
            token = page.next_page_token
            if not token:
                return found

    async def claim(
        self,
        name: str,
        worker: str,
        *,
        stage: str = "pending",
        to: str = "embedding",
        limit: int = 100,
        lease_s: int = 900,
        prefix: str = "",
    ) -> Taken:
        found = await self._call(
            "ClaimDocuments",
            pipeline_id=name,
            worker_id=worker,
            stage=stage,
            claim_stage=to,
            limit=limit,
            lease_s=lease_s,
            document_id_prefix=prefix,
        )
        return Taken(list(found.document_ids), found.lease_token)

    async def heartbeat(
        self,
        name: str,
        ids: Sequence[str],
        worker: str,
        *,
        stage: str = "embedding",
        token: int = 0,
    ) -> int:
        found = await self._call(
            "HeartbeatDocuments",
            pipeline_id=name,
            document_ids=ids,
            worker_id=worker,
            stage=stage,
            lease_token=token,
        )
        return int(found.updated_count)

    async def move(self, name: str, ids: Sequence[str], stage: str, **guards: Any) -> int:
        creates_missing = guards.pop("create_missing", False)
        found = await self._call(
            "MoveDocuments",
            pipeline_id=name,
            document_ids=ids,
            stage=stage,
            creates_missing=creates_missing,
            **guards,
        )
        return int(found.updated_count)

    async def write(self, name: str, document: str, rows: Sequence[Vector], token: int = 0) -> None:
        vectors = [_message(row) for row in rows]
        found = await self._call(
            "WriteVectors",
            pipeline_id=name,
            document_id=document,
            vectors=vectors,
            lease_token=token,
        )
        assert found.written_count == len(rows)

    async def lost(self, name: str, *, limit: int = 100, after: str = "") -> tuple[list[Lost], str]:
        found = await self._call(
            "ListFailedDocuments", pipeline_id=name, page_size=limit, page_token=after
        )
        documents = [
            Lost(one.document_id, one.reason, one.attempt_count) for one in found.documents
        ]
        return documents, found.next_page_token

    async def _call(self, method: str, **fields: Any) -> Any:
        request = getattr(runtime_pb2, f"{method}Request")(**fields)
        try:
            return await invoke(getattr(self._stub, method), request, timeout_s=CALL_S_MAX)
        except LayerError as error:
            raise RefusedError(error.http_error) from error


def _made_of(found: runtime_pb2.Pipeline) -> Made:
    assert found.create_time.seconds
    return Made(found.pipeline_id, found.target_namespace, _METRIC_NAMES[found.distance_metric])


def _message(row: Vector) -> runtime_pb2.ChunkVector:
    message = runtime_pb2.ChunkVector(
        row_id=row.id,
        attributes={name: text_value(text) for name, text in row.attributes.items()},
    )
    if row.vector:
        message.vector.CopyFrom(vector_message(*row.vector))
    if row.vectors:
        message.vectors.vectors.extend(vector_message(*one) for one in row.vectors)
    return message
