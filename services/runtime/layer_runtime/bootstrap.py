"""The composition root: which parts the process is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc.aio

from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_kit.process import Addresses
from layer_kit.rpc.refusal import refuse_all
from layer_kit.service import ServiceFrame, service_frame
from layer_runtime.adapters.postgres.database import Database, Limits, open_database
from layer_runtime.adapters.postgres.keeping import DatabaseKeeper
from layer_runtime.adapters.postgres.metrics import DatabaseMetrics
from layer_runtime.functions import open_functions
from layer_runtime.pipelines import open_pipelines
from layer_runtime.settings import RuntimeSettings

SERVICES: Final = tuple(runtime_pb2.DESCRIPTOR.services_by_name.values())
PIPELINES: Final = runtime_pb2.DESCRIPTOR.services_by_name["PipelineService"]
LOOK_INTERVAL_S: Final = 1.0


@asynccontextmanager
async def serving(settings: RuntimeSettings) -> AsyncIterator[Addresses]:
    """Run the service for the length of the block; yield what it listens on.

    Raises:
        ConfigurationError: The database, the object store or an address is unusable as described.
    """
    async with service_frame(settings) as frame:
        registrations = [refuse_all(SERVICES)]
        if settings.database_url.get_secret_value():
            databases = await _open_databases(settings, frame)
            functions = open_functions(settings, frame, databases)
            pipelines = open_pipelines(settings, frame, databases)
            registrations = [
                lambda server: runtime_pb2_grpc.add_FunctionServiceServicer_to_server(
                    functions, server
                ),
                refuse_all([PIPELINES])
                if pipelines is None
                else partial(runtime_pb2_grpc.add_PipelineServiceServicer_to_server, pipelines),
            ]

        def register(server: grpc.aio.Server) -> None:
            for registration in registrations:
                registration(server)

        await frame.serve_grpc(settings.grpc_address, SERVICES, register)
        frame.started()
        yield frame.addresses


@dataclass(frozen=True, slots=True, kw_only=True)
class _Databases:
    """Two pools over one database, so that a look at it never waits behind its work."""

    data: Database
    control: Database


async def _open_databases(settings: RuntimeSettings, frame: ServiceFrame) -> _Databases:
    metrics = DatabaseMetrics(frame.registry)

    async def pool(name: str, connections_max: int) -> Database:
        limits = Limits(
            connections_max=connections_max,
            statement_timeout_s=settings.statement_timeout_s,
            idle_in_transaction_ms=settings.idle_in_transaction_ms,
        )
        url = settings.database_url.get_secret_value()
        return await frame.resources.enter_async_context(
            open_database(url, limits, metrics=metrics, pool_name=name)
        )

    databases = _Databases(
        data=await pool("data", settings.data_connections_max),
        control=await pool("control", settings.control_connections_max),
    )
    keeper = DatabaseKeeper(control=databases.control, data=databases.data, health=frame.health)
    await keeper.look()
    frame.resources.push_async_callback(frame.loops.stop)
    frame.loops.every(LOOK_INTERVAL_S, keeper.look, name="database")
    return databases
