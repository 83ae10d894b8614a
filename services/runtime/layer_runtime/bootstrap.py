"""The composition root: which parts the process is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from layer.runtime.v1 import runtime_pb2
from layer_kit.process import Addresses
from layer_kit.rpc.refusal import refuse_all
from layer_kit.service import service_frame
from layer_runtime.settings import RuntimeSettings

SERVICES: Final = tuple(runtime_pb2.DESCRIPTOR.services_by_name.values())


@asynccontextmanager
async def serving(settings: RuntimeSettings) -> AsyncIterator[Addresses]:
    """Run the service for the length of the block; yield what it listens on."""
    async with service_frame(settings) as frame:
        await frame.serve_grpc(settings.grpc_address, SERVICES, refuse_all(SERVICES))
        frame.started()
        yield frame.addresses
