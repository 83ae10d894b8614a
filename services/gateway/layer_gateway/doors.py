"""Composition of the two doors, over one core: the HTTP edge and the gRPC servicer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import grpc.aio
from prometheus_client import Gauge

from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_gateway.adapters.draining import Draining
from layer_gateway.application.admission import Admission
from layer_gateway.data_metrics import DataMetrics
from layer_gateway.http.budget import BodyBudget
from layer_gateway.http.edge import Edge
from layer_gateway.http.errand_ports import QuickHandler
from layer_gateway.http.handlers.blobs import BlobHandlers
from layer_gateway.http.handlers.documents import DocumentHandlers
from layer_gateway.http.handlers.editions import EditionHandlers
from layer_gateway.http.handlers.functions import FunctionHandlers
from layer_gateway.http.handlers.history import HistoryHandlers
from layer_gateway.http.handlers.metrics import MetricHandlers
from layer_gateway.http.handlers.namespaces import NamespaceHandlers
from layer_gateway.http.handlers.pipelines import PipelineHandlers
from layer_gateway.http.handlers.rows import RowHandlers
from layer_gateway.http.handlers.scans import ScanHandlers
from layer_gateway.http.handlers.searches import SearchHandlers
from layer_gateway.http.handlers.snapshots import SnapshotHandlers
from layer_gateway.http.handlers.vectorstores import VectorStoreHandlers
from layer_gateway.http.handlers.warming import WarmHandlers
from layer_gateway.http.memory import MemoryRelease
from layer_gateway.http.passthrough import Passthrough
from layer_gateway.http.public_pages import PublicPages
from layer_gateway.http.requests import Handler
from layer_gateway.http.routes import Operation
from layer_gateway.http.server import http_edge
from layer_gateway.metrics import EdgeMetrics
from layer_gateway.pool.worker import this_worker
from layer_gateway.rim import Rim, open_metrics_backend
from layer_gateway.rpc.blob_servicer import BlobServicer
from layer_gateway.rpc.scan_servicer import ScanServicer
from layer_gateway.rpc.servicer import GatewayServicer
from layer_gateway.rpc.store_servicer import VectorStoreServicer
from layer_gateway.settings import GatewaySettings
from layer_gateway.use_cases import UseCases
from layer_kit.service import ServiceFrame
from layer_kit.telemetry.metrics import Exposition, exposition_of
from layer_upstream import UpstreamClient, UpstreamLimits

POOL_TIMEOUT_S: Final = 5.0


async def open_edge(
    settings: GatewaySettings,
    frame: ServiceFrame,
    rim: Rim,
    use_cases: UseCases,
    *,
    door: Admission,
    is_draining: Draining,
    data: DataMetrics,
) -> None:
    """Listen for HTTP."""
    handlers, quick_handlers = _handlers(settings, frame, rim, use_cases)
    release = MemoryRelease()
    edge = Edge(
        handlers,
        quick_handlers,
        public_pages=PublicPages(
            cache_states=use_cases.states,
            is_draining=is_draining,
            health=frame.health,
            exposition=_exposition(frame),
        ),
        admission=door,
        metrics=EdgeMetrics(frame.registry),
        data=data,
    )
    frame.addresses["http"] = await frame.resources.enter_async_context(
        http_edge(
            edge,
            settings.http_address,
            patience_s=settings.request_patience_s,
            budget=_body_budget(settings, frame, release),
            release=release,
            shutdown_grace_s=settings.shutdown_grace_s,
            reuse_port=this_worker() is not None,
        )
    )


async def open_rpc(
    settings: GatewaySettings,
    frame: ServiceFrame,
    use_cases: UseCases,
    *,
    door: Admission,
    data: DataMetrics,
) -> None:
    """Listen for gRPC."""
    servicer = GatewayServicer(
        admission=door,
        facts=use_cases.facts,
        write_rows=use_cases.write,
        answer_query=use_cases.queries.ask,
        query_legs=use_cases.queries.legs,
        query_namespaces=use_cases.queries.federate,
        history=use_cases.history,
        fetch_rows=use_cases.fetch,
        stream_rows=use_cases.stream_rows,
        namespaces=use_cases.namespaces,
        init_namespace=use_cases.init_namespace,
        migrate_namespace=use_cases.migrate_namespace,
        warm_jobs=use_cases.warm_jobs,
        warm_caches=use_cases.warm_caches,
        metrics=data,
    )
    scans = ScanServicer(
        admission=door,
        count_rows=use_cases.scans.count,
        scan_jobs=use_cases.scans.jobs,
        count_cached_values=use_cases.scans.count_cached_values,
    )
    blobs = BlobServicer(admission=door, blobs=use_cases.blobs)
    stores = VectorStoreServicer(admission=door, describe_stores=use_cases.describe_stores)

    def add_to(server: grpc.aio.Server) -> None:
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(servicer, server)
        gateway_pb2_grpc.add_ScanServiceServicer_to_server(scans, server)
        gateway_pb2_grpc.add_BlobServiceServicer_to_server(blobs, server)
        gateway_pb2_grpc.add_VectorStoreServiceServicer_to_server(stores, server)

    services = list(gateway_pb2.DESCRIPTOR.services_by_name.values())
    worker = this_worker()
    is_first = worker is None or worker.number == 0  # a unix socket has one owner
    await frame.serve_grpc(
        settings.grpc_address,
        services,
        add_to,
        reuse_port=worker is not None,
        further_address=settings.beside_address if is_first else "",
    )


def _handlers(
    settings: GatewaySettings,
    frame: ServiceFrame,
    rim: Rim,
    use_cases: UseCases,
) -> tuple[dict[Operation, Handler], Mapping[Operation, QuickHandler]]:
    store_name = use_cases.describe_stores.stores.default.name
    query_bytes_max = min(settings.query_body_bytes_max, settings.body_bytes_max)
    passthrough = Passthrough(rim.store, body_bytes_max=settings.body_bytes_max)
    rows = RowHandlers(
        write_rows=use_cases.write,
        answer_query=use_cases.queries.ask,
        plain_queries=use_cases.queries.plain,
        query_legs=use_cases.queries.legs,
        store=rim.store,
        passthrough=passthrough,
        history=use_cases.history,
        body_bytes_max=settings.body_bytes_max,
        query_body_bytes_max=query_bytes_max,
    )
    documents = DocumentHandlers(
        fetch_rows=use_cases.fetch,
        history=use_cases.history,
        body_bytes_max=query_bytes_max,
    )
    tables = (
        rows,
        SearchHandlers(
            query_namespaces=use_cases.queries.federate,
            store_name=store_name,
            body_bytes_max=query_bytes_max,
        ),
        documents,
        NamespaceHandlers(
            namespaces=use_cases.namespaces,
            init_namespace=use_cases.init_namespace,
            migrate_namespace=use_cases.migrate_namespace,
            facts=use_cases.facts,
            cache=rim.cache.rows,
            passthrough=passthrough,
            body_bytes_max=settings.body_bytes_max,
        ),
        ScanHandlers(
            count_rows=use_cases.scans.count,
            scan_jobs=use_cases.scans.jobs,
            body_bytes_max=query_bytes_max,
        ),
        WarmHandlers(
            warm_jobs=use_cases.warm_jobs,
            warm_caches=use_cases.warm_caches,
            passthrough=passthrough,
        ),
        BlobHandlers(blobs=use_cases.blobs),
        HistoryHandlers(archive=use_cases.archive),
        SnapshotHandlers(archive=rim.snapshots),
        VectorStoreHandlers(describe_stores=use_cases.describe_stores),
        MetricHandlers(source=open_metrics_backend(settings, frame)),
        FunctionHandlers(functions=rim.functions, body_bytes_max=settings.body_bytes_max),
        PipelineHandlers(pipelines=rim.pipelines, body_bytes_max=settings.body_bytes_max),
        EditionHandlers(store_name=store_name),
    )
    handlers = {name: handler for table in tables for name, handler in table.table().items()}
    return handlers, {**rows.quick_table(), **documents.quick_table()}


def _body_budget(
    settings: GatewaySettings, frame: ServiceFrame, release: MemoryRelease
) -> BodyBudget:
    budget = BodyBudget(settings.bodies_bytes_max, emptied=release.emptied)
    held = Gauge(
        "layer_http_body_bytes",
        "Bytes of larger request bodies in hand.",
        registry=frame.registry,
    )
    held.set_function(lambda: budget.held_bytes)
    return budget


def _exposition(frame: ServiceFrame) -> Exposition:
    """Return what the edge shows as metrics: a worker shows those of its pool."""
    alone = exposition_of(frame.registry)
    worker = this_worker()
    if worker is None:
        return alone
    limits = UpstreamLimits(connections_max=1, total_timeout_s=POOL_TIMEOUT_S)
    client = UpstreamClient(f"http://{worker.pool_address}", limits)
    frame.resources.push_async_callback(client.aclose)

    async def of_pool() -> bytes:
        return (await client.request(b"GET", b"/metrics", ())).body

    return of_pool
