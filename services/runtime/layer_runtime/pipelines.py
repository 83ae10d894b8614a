"""Composition of pipelines: their use cases over database, objects, cache and gateway."""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from layer.cache.v1 import cache_pb2_grpc
from layer.gateway.v1 import gateway_pb2_grpc
from layer_kit.clock import monotonic
from layer_kit.rpc.client import open_channel
from layer_kit.service import ServiceFrame
from layer_runtime.adapters.chunk_bodies import ChunkBodies
from layer_runtime.adapters.postgres.database import Database
from layer_runtime.adapters.postgres.document_queue import PostgresDocuments
from layer_runtime.adapters.postgres.pipelines import PostgresPipelines
from layer_runtime.adapters.target_rows import GatewayTargetRows
from layer_runtime.application.documents import PipelineDocuments
from layer_runtime.application.pipeline_registry import PipelineRegistry
from layer_runtime.pipeline_metrics import PipelineMetrics
from layer_runtime.rpc.pipeline_servicer import PipelineServicer
from layer_runtime.settings import RuntimeSettings

log = structlog.get_logger(__name__)

EXPIRE_INTERVAL_S: Final = 5.0
FIRING_INTERVAL_S: Final = 1.0
FIGURES_INTERVAL_S: Final = 15.0
PURGE_INTERVAL_S: Final = 5.0


class Databases(Protocol):
    """Where the work of queues goes, and where looking at them does."""

    @property
    def data(self) -> Database: ...

    @property
    def control(self) -> Database: ...


def open_pipelines(
    settings: RuntimeSettings, frame: ServiceFrame, databases: Databases
) -> PipelineServicer | None:
    """Build the service and start what pipelines do by themselves; None without an object store."""
    objects = settings.open_objects(frame.registry)
    if objects is None:
        log.warning("pipelines_off", cause="there is neither a bucket nor a folder for objects")
        return None
    frame.resources.push_async_callback(objects.aclose)
    chunks = ChunkBodies(objects=objects, caches=_open_caches(settings, frame))
    channel = open_channel(settings.gateway_address)
    frame.resources.push_async_callback(channel.close)
    rows = GatewayTargetRows(
        stub=gateway_pb2_grpc.GatewayServiceStub(channel),
        key=settings.gateway_api_key.get_secret_value(),
    )
    metrics = PipelineMetrics(frame.registry)

    def queue(database: Database) -> PostgresDocuments:
        return PostgresDocuments(
            database,
            attempts_max=settings.attempts_max,
            backoff_s_initial=settings.backoff_ms / 1000,
        )

    pipelines, documents = PostgresPipelines(databases.data), queue(databases.data)
    registry = PipelineRegistry(
        pipelines=pipelines,
        documents=queue(databases.control),
        rows=rows,
        transitions=metrics,
        monotonic=monotonic,
        status_ttl_s=settings.status_ttl_ms / 1000,
    )

    async def purge() -> None:
        while await pipelines.purge(chunks.drop):
            pass

    frame.loops.every(FIRING_INTERVAL_S, registry.fire, name="pipeline_schedules")
    frame.loops.every(EXPIRE_INTERVAL_S, registry.free_expired, name="document_leases")
    frame.loops.every(FIGURES_INTERVAL_S, registry.look, name="pipeline_figures")
    frame.loops.every(PURGE_INTERVAL_S, purge, name="pipeline_purges")
    return PipelineServicer(
        registry=registry,
        documents=PipelineDocuments(
            registry=registry,
            documents=documents,
            chunks=chunks,
            rows=rows,
            transitions=metrics,
        ),
    )


def _open_caches(
    settings: RuntimeSettings, frame: ServiceFrame
) -> list[cache_pb2_grpc.RecordServiceStub]:
    stubs = []
    for address in settings.cache_addresses:
        channel = open_channel(address, retries=False)
        frame.resources.push_async_callback(channel.close)
        stubs.append(cache_pb2_grpc.RecordServiceStub(channel))
    return stubs
