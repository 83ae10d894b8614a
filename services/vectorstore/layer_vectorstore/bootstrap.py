"""Puts the store together: the only module that names concrete classes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from random import SystemRandom
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from layer_kit.addresses import bind_site
from layer_kit.clock import epoch_milliseconds
from layer_kit.directories import own_directory
from layer_kit.service import service_frame
from layer_vectorstore.adapters.index_builder import BackgroundIndexBuilder, yield_to_queries
from layer_vectorstore.adapters.index_files import IndexFiles
from layer_vectorstore.adapters.sqlite_log import SqliteChangeLog
from layer_vectorstore.adapters.usearch_graph import UsearchGraphs
from layer_vectorstore.application.freshness import Freshness
from layer_vectorstore.application.managing import ManageNamespaces
from layer_vectorstore.application.querying import QueryNamespace
from layer_vectorstore.application.registry import Registry
from layer_vectorstore.application.writing import WriteLimits, WriteNamespace
from layer_vectorstore.domain.writing import ByFilterLimits
from layer_vectorstore.http.faults import FaultInjector, Faults
from layer_vectorstore.http.metrics import HttpMetrics
from layer_vectorstore.http.routes import Routes
from layer_vectorstore.http.server import HttpLimits, VectorstoreServer
from layer_vectorstore.settings import VectorstoreSettings

INDEXES_NAME: Final = "indexes"
HEADER_BYTES_MAX: Final = 64 << 10
"""Of one line. Clients' opt-in telemetry outgrows the 8 KiB that servers usually take."""


@asynccontextmanager
async def serving(settings: VectorstoreSettings) -> AsyncIterator[Mapping[str, str]]:
    """Run the store for the length of the block; yield its addresses.

    Raises:
        ConfigurationError: When the directory or an address cannot be used.
    """
    async with service_frame(settings) as frame:
        resources = frame.resources
        # Queries already run side by side; threads of BLAS beside them only wait for each other.
        resources.enter_context(threadpool_limits(1, user_api="blas"))
        directory = settings.data_directory
        resources.enter_context(own_directory(directory))
        change_log = SqliteChangeLog.open(directory, frame.registry)
        resources.callback(change_log.close)
        index_files = IndexFiles(directory / INDEXES_NAME, UsearchGraphs())
        index_files.keep_only({stream.number for stream in change_log.streams()})
        index_builder = BackgroundIndexBuilder(
            _pool(resources, 1, "index", yield_to_queries),
            UsearchGraphs(),
            index_files,
            frame.registry,
            rows_min=settings.index_rows_min,
            namespace_bytes_max=settings.namespace_bytes_max,
        )
        resources.callback(index_builder.stop)
        namespaces = Registry(change_log, index_builder, memory_bytes_max=settings.memory_bytes_max)
        server = _build(settings, namespaces, frame.registry, resources)
        runner = web.ServerRunner(
            web.Server(
                server.handle,
                access_log=None,
                auto_decompress=False,
                max_line_size=HEADER_BYTES_MAX,
                max_field_size=HEADER_BYTES_MAX,
            ),
            shutdown_timeout=settings.shutdown_grace_s,
        )
        await runner.setup()
        resources.push_async_callback(runner.cleanup)
        frame.addresses["http"] = await bind_site(runner, settings.http_address)
        frame.started()
        yield frame.addresses


def _build(
    settings: VectorstoreSettings,
    registry: Registry,
    metrics: CollectorRegistry,
    resources: AsyncExitStack,
) -> VectorstoreServer:
    freshness = Freshness(settings.index_lag_ms, settings.unindexed_bytes_max)
    random = SystemRandom()
    write = WriteNamespace(
        registry=registry,
        freshness=freshness,
        limits=WriteLimits(
            by_filter=ByFilterLimits(
                deleted_rows_max=settings.delete_by_filter_rows_max,
                patched_rows_max=settings.patch_by_filter_rows_max,
            ),
            namespace_bytes_max=settings.namespace_bytes_max,
        ),
        now_ms=epoch_milliseconds,
    )
    return VectorstoreServer(
        Routes(
            write=write,
            queries=QueryNamespace(
                registry=registry, freshness=freshness, now_ms=epoch_milliseconds, random=random
            ),
            manage=ManageNamespaces(
                registry=registry, write=write, freshness=freshness, now_ms=epoch_milliseconds
            ),
            clock=time.monotonic,
        ),
        limits=HttpLimits(
            body_bytes_max=settings.body_bytes_max,
            api_keys=frozenset(
                key.strip()
                for key in settings.api_keys.get_secret_value().split(",")
                if key.strip()
            ),
        ),
        readers=_pool(resources, settings.query_threads, "query"),
        writers=_pool(resources, settings.write_threads, "write"),
        faults=FaultInjector(
            Faults(
                latency_ms=settings.fault_latency_ms,
                error_rate=settings.fault_error_rate,
                drop_rate=settings.fault_drop_rate,
                drop_answer_rate=settings.fault_drop_answer_rate,
            ),
            freshness,
            random,
            is_changeable=settings.faults_enabled,
        ),
        metrics=HttpMetrics(metrics),
        clock=time.monotonic,
    )


def _pool(
    resources: AsyncExitStack,
    threads_count: int,
    name: str,
    initializer: Callable[[], None] | None = None,
) -> ThreadPoolExecutor:
    return resources.enter_context(
        ThreadPoolExecutor(threads_count, thread_name_prefix=name, initializer=initializer)
    )
