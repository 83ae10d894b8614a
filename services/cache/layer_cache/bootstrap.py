"""The composition root; with ``backends`` the only module that names concrete classes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import grpc.aio
import structlog
from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_cache.application.reads import Reads
from layer_cache.application.records import Records
from layer_cache.application.sessions import Sessions
from layer_cache.application.statistics import Statistics
from layer_cache.application.warmth import Warmth
from layer_cache.application.writes import Writes
from layer_cache.backends import open_backend
from layer_cache.domain.eras import Eras
from layer_cache.domain.limits import Limits
from layer_cache.domain.members import Members
from layer_cache.domain.order import Order
from layer_cache.domain.oversize import Oversize
from layer_cache.domain.tokens import INCARNATION_BYTES
from layer_cache.metrics import CacheMetrics, FiguresCollector
from layer_cache.ports import LedgerStore, RowStore
from layer_cache.rpc.direct_lookups import METHOD, DirectLookups, address_beside, told_address
from layer_cache.rpc.records import RecordServicer
from layer_cache.rpc.rows import CacheServicer
from layer_cache.rpc.warmth import WarmthServicer
from layer_cache.settings import CacheSettings
from layer_kit.clock import EpochMilliseconds, Monotonic, epoch_milliseconds
from layer_kit.configuration import ConfigurationError
from layer_kit.service import ServiceFrame, service_frame
from layer_streams.server import stream_server

log = structlog.get_logger(__name__)

ADVANCE_INTERVAL_S: Final = 0.1
RECOVER_INTERVAL_S: Final = 10.0
WARMTH_INTERVAL_S: Final = 1.0
NOWHERE: Final = "off"


@asynccontextmanager
async def serving(settings: CacheSettings) -> AsyncIterator[Mapping[str, str]]:
    """Run the cache for the length of the block; yield what it listens on.

    Raises:
        ConfigurationError: When the data directory or an address cannot be used.
    """
    async with service_frame(settings) as frame:
        clock = _lease_clock()
        backend = await open_backend(settings, frame.resources, frame.registry, clock=clock)
        servicer = build(
            backend.rows,
            backend.ledger,
            settings,
            frame.registry,
            records=backend.records,
            clock=clock,
            wall_ms=epoch_milliseconds,
            limits=Limits(),
            draining=frame.draining,
        )
        servicer = await _with_direct_lookups(servicer, settings, frame)
        writes = servicer.writes
        # After the rows are closed: the last flush may have pushed some out.
        frame.resources.push_async_callback(writes.warmth.check)
        frame.resources.push_async_callback(backend.rows.close)
        records = Records(
            store=backend.records,
            writes=writes,
            ttl_ms=int(settings.ttl_s * 1000),
            wall_ms=epoch_milliseconds,
        )

        async def recover() -> None:
            await backend.rows.recover()
            await backend.records.recover()

        def register(server: grpc.aio.Server) -> None:
            cache_pb2_grpc.add_CacheServiceServicer_to_server(servicer, server)
            cache_pb2_grpc.add_WarmthServiceServicer_to_server(
                WarmthServicer(warmth=writes.warmth, writes=writes), server
            )
            cache_pb2_grpc.add_RecordServiceServicer_to_server(
                RecordServicer(records=records), server
            )

        frame.loops.every(WARMTH_INTERVAL_S, writes.warmth.check, name="warmth")
        frame.loops.every(ADVANCE_INTERVAL_S, servicer.sessions.advance, name="advance")
        frame.loops.every(RECOVER_INTERVAL_S, recover, name="recover")
        for interval_s, turn in backend.maintenance:
            frame.loops.every(interval_s, turn, name="maintenance")
        await frame.serve_grpc(
            settings.grpc_address,
            list(cache_pb2.DESCRIPTOR.services_by_name.values()),
            register,
        )
        frame.started()
        yield frame.addresses


async def _with_direct_lookups(
    servicer: CacheServicer, settings: CacheSettings, frame: ServiceFrame
) -> CacheServicer:
    """Serve lookups without grpc as well; return the servicer that tells where."""
    if settings.lookups_address == NOWHERE:
        return servicer
    lookups = DirectLookups(
        look_up=servicer.look_up,
        look_up_now=servicer.look_up_now,
        incarnation=servicer.reads.order.incarnation.hex(),
        draining=frame.draining,
    )
    server = stream_server(
        address=settings.lookups_address or address_beside(settings.grpc_address),
        methods={METHOD: lookups},
        domain=cache_pb2.DESCRIPTOR.package,
        calls=frame.calls,
        shutdown_grace_s=settings.shutdown_grace_s,
    )
    try:
        bound = await frame.resources.enter_async_context(server)
    except ConfigurationError as error:
        if settings.lookups_address:
            raise
        log.warning("lookups_not_direct", cause=str(error))  # gateways go on asking over grpc
        return servicer
    frame.addresses["lookups"] = bound
    return replace(servicer, lookup_address=told_address(bound))


def build(
    store: RowStore,
    ledger: LedgerStore,
    settings: CacheSettings,
    registry: CollectorRegistry,
    *,
    records: RowStore,
    clock: Monotonic,
    wall_ms: EpochMilliseconds,
    limits: Limits,
    draining: asyncio.Event,
) -> CacheServicer:
    """Wire one incarnation of the cache over a backend.

    Args:
        records: Where records are kept, of which only the figures are told here.
        draining: Set when the process is about to stop.
    """
    before = ledger.load()
    order = Order(
        incarnation=secrets.token_bytes(INCARNATION_BYTES),
        eras=Eras(
            current=max(1, before.floor, *before.epochs.values()),
            floor=before.floor,
            epochs=dict(before.epochs),
        ),
        limits=limits,
    )
    members = Members(
        before.member_ids,
        now_s=clock(),
        lease_s=settings.lease_s,
        declared_gone_s=settings.declared_gone_s,
        members_max=limits.members_max,
    )
    warmth = Warmth(
        store=store,
        ledger=ledger,
        remembered=before.warm.items(),
        ttl_s=settings.ttl_s,
        clock=clock,
        wall_ms=wall_ms,
        new_warm_id=lambda: secrets.token_hex(INCARNATION_BYTES),
    )
    oversize = Oversize()
    writes = Writes(
        store=store,
        ledger=ledger,
        order=order,
        members=members,
        warmth=warmth,
        oversize=oversize,
        clock=clock,
        wall_ms=wall_ms,
    )
    sessions = Sessions(
        members=members,
        writes=writes,
        order=order,
        ledger=ledger,
        clock=clock,
        new_session_id=lambda: secrets.token_hex(INCARNATION_BYTES),
    )
    statistics = Statistics(
        store=store,
        records=records,
        warmth=warmth,
        order=order,
        sessions=sessions,
        oversize=oversize,
        clock=clock,
    )
    registry.register(FiguresCollector(statistics.take))
    return CacheServicer(
        reads=Reads(
            store=store,
            order=order,
            members=members,
            oversize=oversize,
            clock=clock,
            wall_ms=wall_ms,
        ),
        writes=writes,
        sessions=sessions,
        statistics=statistics,
        metrics=CacheMetrics(registry, namespace_count_max=settings.namespace_label_count_max),
        draining=draining,
    )


def _lease_clock() -> Monotonic:
    """Return a clock that also counts the time the machine slept, where there is one.

    A laptop's gateway in another virtual machine may go on while this one sleeps.
    """
    if (boot_time := getattr(time, "CLOCK_BOOTTIME", None)) is not None:
        return lambda: time.clock_gettime(boot_time)
    return time.monotonic
