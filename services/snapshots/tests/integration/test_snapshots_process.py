"""The service as a process: started by its module name and called over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest

from layer.snapshots.v1 import snapshots_pb2
from layer_kit.errors import UnsupportedError
from layer_testing.grpc_calls import errors_of_all, is_serving, reflected_services
from layer_testing.processes import ServiceProcess, running

SERVICES = tuple(snapshots_pb2.DESCRIPTOR.services_by_name.values())


@pytest.fixture
async def service() -> AsyncIterator[ServiceProcess]:
    async with running("layer_snapshots", LAYER_SNAPSHOTS_GRPC_ADDRESS="127.0.0.1:0") as process:
        yield process


@pytest.fixture
async def channel(service: ServiceProcess) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(service.addresses["grpc"]) as channel:
        yield channel


async def test_it_is_healthy_as_a_whole_and_by_service(channel: grpc.aio.Channel) -> None:
    assert await is_serving(channel)
    for descriptor in SERVICES:
        assert await is_serving(channel, descriptor.full_name)


async def test_reflection_lists_its_api(channel: grpc.aio.Channel) -> None:
    assert {descriptor.full_name for descriptor in SERVICES} <= await reflected_services(channel)


async def test_every_method_is_refused_by_name(channel: grpc.aio.Channel) -> None:
    errors = await errors_of_all(channel, SERVICES)
    assert len(errors) == sum(len(descriptor.methods) for descriptor in SERVICES)
    for name, error in errors.items():
        assert isinstance(error, UnsupportedError)
        assert (error.reason, error.metadata) == ("RPC_NOT_OFFERED", {"method": name})
        assert name in error.message


async def test_sigterm_ends_it_cleanly(service: ServiceProcess) -> None:
    assert await service.terminate() == 0
    assert "service_stopped" in service.stderr
