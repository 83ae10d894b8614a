"""Values about pipelines to responses."""

from __future__ import annotations

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_runtime.application.pipeline_registry import PipelineStatus, WorkState
from layer_runtime.domain.pipelines import (
    FAILED,
    PENDING,
    RATE_WINDOW_S,
    Chunk,
    Distance,
    FailedDocument,
    Pipeline,
)

_DISTANCES: Final = {
    Distance.COSINE: common_pb2.DISTANCE_METRIC_COSINE_DISTANCE,
    Distance.EUCLIDEAN: common_pb2.DISTANCE_METRIC_EUCLIDEAN_SQUARED,
}
_STATES: Final = {
    WorkState.IDLE: runtime_pb2.PIPELINE_STATE_IDLE,
    WorkState.PENDING: runtime_pb2.PIPELINE_STATE_PENDING,
    WorkState.WAITING_ON_UPSTREAM: runtime_pb2.PIPELINE_STATE_WAITING_ON_UPSTREAM,
}
S_PER_MINUTE: Final = 60


def pipeline_message(pipeline: Pipeline) -> runtime_pb2.Pipeline:
    return runtime_pb2.Pipeline(
        pipeline_id=pipeline.id,
        target_namespace=pipeline.target_namespace,
        distance_metric=_DISTANCES[pipeline.distance],
        create_time=_moment(pipeline.created_ms),
        cron=pipeline.cron,
    )


def status_message(status: PipelineStatus) -> runtime_pb2.GetPipelineStatusResponse:
    figures, pipeline = status.figures, status.pipeline
    message = runtime_pb2.GetPipelineStatusResponse(
        state=_STATES[status.state],
        stage_counts=figures.stage_counts,
        failed_reason_counts=figures.failed_reason_counts,
        pending_count=figures.stage_counts.get(PENDING, 0),
        processing_count=figures.leased_count,
        failed_count=figures.stage_counts.get(FAILED, 0),
        indexed_per_minute=figures.indexed_recently * S_PER_MINUTE / RATE_WINDOW_S,
        rate_window_s=RATE_WINDOW_S,
    )
    if pipeline.fires_ms is not None:
        message.window.is_open = pipeline.is_window_open
        message.window.next_firing_time.FromMilliseconds(pipeline.fires_ms)
        if pipeline.fired_ms is not None:
            message.window.last_firing_time.FromMilliseconds(pipeline.fired_ms)
    return message


def chunk_message(chunk: Chunk) -> runtime_pb2.Chunk:
    return runtime_pb2.Chunk(chunk_id=chunk.id, text=chunk.text, metadata_json=chunk.metadata)


def failed_message(document: FailedDocument) -> runtime_pb2.FailedDocument:
    return runtime_pb2.FailedDocument(
        document_id=document.id,
        reason=document.reason,
        attempt_count=document.attempt_count,
        fail_time=_moment(document.failed_ms),
    )


def _moment(epoch_ms: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMilliseconds(epoch_ms)
    return moment
