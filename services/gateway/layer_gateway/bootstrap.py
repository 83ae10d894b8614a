"""Composition root: it, and the modules that it composes with, alone name concrete classes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from layer_gateway.adapters.draining import MARKER_WATCH_INTERVAL_S
from layer_gateway.data_metrics import DataMetrics
from layer_gateway.doors import open_edge, open_rpc
from layer_gateway.entrance import admission, declared_stores, draining
from layer_gateway.rim import open_rim
from layer_gateway.settings import GatewaySettings
from layer_gateway.use_cases import compose_use_cases
from layer_kit.process import Addresses
from layer_kit.service import service_frame


@asynccontextmanager
async def serving(settings: GatewaySettings) -> AsyncIterator[Addresses]:
    """Run the gateway for the length of the block; yield what it listens on."""
    async with service_frame(settings) as frame:
        stores = declared_stores(settings)
        rim = await open_rim(settings, stores.default, frame)
        use_cases = compose_use_cases(settings, frame, rim, stores)
        is_draining = draining(settings, frame.health)
        frame.loops.every(MARKER_WATCH_INTERVAL_S, is_draining.tell_health, name="drain_marker")
        data = DataMetrics(frame.registry)
        door = admission(settings, stores.default, is_draining)
        await open_edge(
            settings,
            frame,
            rim,
            use_cases,
            door=door,
            is_draining=is_draining,
            data=data,
        )
        await open_rpc(settings, frame, use_cases, door=door, data=data)
        frame.started()
        yield frame.addresses
