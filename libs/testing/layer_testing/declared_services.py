"""The suite of a service whose API is declared and not offered yet: a process, called over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

import grpc.aio
import pytest
from google.protobuf.descriptor import ServiceDescriptor

from layer_kit.errors import UnsupportedError
from layer_testing.grpc_calls import errors_of_all, is_serving, reflected_services
from layer_testing.processes import ServiceProcess, running


class DeclaredServiceSuite:
    """Subclasses name the module that is started and the services that it declares."""

    module: ClassVar[str]
    services: ClassVar[Sequence[ServiceDescriptor]]

    @pytest.fixture
    async def process(self) -> AsyncIterator[ServiceProcess]:
        address = {f"{self.module.upper()}_GRPC_ADDRESS": "127.0.0.1:0"}
        async with running(self.module, **address) as process:
            yield process

    @pytest.fixture
    async def channel(self, process: ServiceProcess) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel(process.addresses["grpc"]) as channel:
            yield channel

    async def test_it_is_healthy_as_a_whole_and_by_service(self, channel: grpc.aio.Channel) -> None:
        assert await is_serving(channel)
        for service in self.services:
            assert await is_serving(channel, service.full_name)

    async def test_reflection_lists_its_api(self, channel: grpc.aio.Channel) -> None:
        names = {service.full_name for service in self.services}
        assert names <= await reflected_services(channel)

    async def test_every_method_is_refused_by_name(self, channel: grpc.aio.Channel) -> None:
        errors = await errors_of_all(channel, self.services)
        assert len(errors) == sum(len(service.methods) for service in self.services)
        for name, error in errors.items():
            assert isinstance(error, UnsupportedError)
            assert (error.reason, error.metadata) == ("RPC_NOT_OFFERED", {"method": name})
            assert name in error.message

    async def test_sigterm_ends_it_cleanly(self, process: ServiceProcess) -> None:
        assert await process.terminate() == 0
        assert "service_stopped" in process.stderr
