"""Composition of functions: their use cases over the database and the gateway, and their loops."""

from __future__ import annotations

import uuid
from typing import Final, Protocol

import aiohttp

from layer.gateway.v1 import gateway_pb2_grpc
from layer_kit.clock import epoch_milliseconds, monotonic
from layer_kit.rpc.client import open_channel
from layer_kit.service import ServiceFrame
from layer_runtime.adapters.gateway_rows import GatewayRows
from layer_runtime.adapters.http_workers import HttpWorkers
from layer_runtime.adapters.postgres.database import Database
from layer_runtime.adapters.postgres.function_store import PostgresFunctions
from layer_runtime.adapters.postgres.item_queue import PostgresItems
from layer_runtime.application.candidates import Candidates
from layer_runtime.application.claiming import ClaimItems
from layer_runtime.application.comparing import CompareCandidate
from layer_runtime.application.completing import CompleteItems
from layer_runtime.application.enqueuing import EnqueueWritten
from layer_runtime.application.firing import FireSchedules
from layer_runtime.application.function_registry import FunctionRegistry
from layer_runtime.application.holding import HoldItems
from layer_runtime.application.looking_up import LookUpItems
from layer_runtime.application.promoting import PromoteCandidate
from layer_runtime.application.pushing import PushBatches
from layer_runtime.application.sweeping import SweepNamespaces
from layer_runtime.function_metrics import FunctionMetrics
from layer_runtime.rpc.function_servicer import FunctionServicer
from layer_runtime.settings import RuntimeSettings

PUSH_INTERVAL_S: Final = 0.5
FIRING_INTERVAL_S: Final = 1.0
FIGURES_INTERVAL_S: Final = 10.0
PURGE_INTERVAL_S: Final = 5.0


class Databases(Protocol):
    """Where the work of queues goes, and where looking at them does."""

    @property
    def data(self) -> Database: ...

    @property
    def control(self) -> Database: ...


def open_functions(
    settings: RuntimeSettings, frame: ServiceFrame, databases: Databases
) -> FunctionServicer:
    """Build the service and start what functions do by themselves."""
    channel = open_channel(settings.gateway_address)
    frame.resources.push_async_callback(channel.close)
    rows = GatewayRows(
        stub=gateway_pb2_grpc.GatewayServiceStub(channel),
        key=settings.gateway_api_key.get_secret_value(),
        monotonic=monotonic,
    )
    functions, items = PostgresFunctions(databases.data), PostgresItems(databases.data)
    registry = FunctionRegistry(functions=functions, items=PostgresItems(databases.control))
    sweep = SweepNamespaces(
        functions=functions,
        items=items,
        rows=rows,
        now_ms=epoch_milliseconds,
        replica=uuid.uuid4().hex,
    )
    metrics = FunctionMetrics(frame.registry)
    claim_items = ClaimItems(functions=functions, items=items, rows=rows, now_ms=epoch_milliseconds)
    hold_items = HoldItems(functions=functions, items=items)
    complete_items = CompleteItems(
        functions=functions, items=items, rows=rows, now_ms=epoch_milliseconds
    )
    session = aiohttp.ClientSession()
    frame.resources.push_async_callback(session.close)
    pushes = PushBatches(
        functions=functions,
        claim_items=claim_items,
        hold_items=hold_items,
        complete_items=complete_items,
        workers=HttpWorkers(session=session, service_url=settings.worker_service_url),
        replica=sweep.replica,
        pushed=metrics.pushed,
    )
    frame.resources.push_async_callback(pushes.aclose)
    frame.resources.push_async_callback(frame.loops.stop)  # before what it works with is closed

    async def look() -> None:
        metrics.show(await registry.statuses())

    async def purge() -> None:
        while await functions.purge():
            pass

    fire_schedules = FireSchedules(functions=functions)
    frame.loops.every(FIRING_INTERVAL_S, fire_schedules.turn, name="function_schedules")
    frame.loops.every(settings.sweep_look_interval_s, sweep.due, name="function_sweeps")
    frame.loops.every(PUSH_INTERVAL_S, pushes.turn, name="function_pushes")
    frame.loops.every(FIGURES_INTERVAL_S, look, name="function_figures")
    frame.loops.every(PURGE_INTERVAL_S, purge, name="function_purges")
    candidates = Candidates(functions=functions, items=items, rows=rows)
    return FunctionServicer(
        registry=registry,
        claim_items=claim_items,
        hold_items=hold_items,
        complete_items=complete_items,
        look_up_items=LookUpItems(
            functions=functions, items=items, rows=rows, now_ms=epoch_milliseconds
        ),
        enqueue_written=EnqueueWritten(functions=functions, items=items),
        sweep=sweep,
        candidates=candidates,
        compare_candidate=CompareCandidate(candidates=candidates, rows=rows),
        promote_candidate=PromoteCandidate(candidates=candidates, functions=functions, rows=rows),
    )
