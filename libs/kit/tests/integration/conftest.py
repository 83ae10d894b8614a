"""An echo server in this process, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc.aio
import pytest

from layer_kit.rpc.client import open_channel
from layer_testing.echo import EchoStub
from layer_testing.echo_server import EchoServer, serve


@pytest.fixture
async def server() -> AsyncIterator[EchoServer]:
    async with serve() as server:
        yield server


@pytest.fixture
async def channel(server: EchoServer) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(server.address) as channel:
        yield channel


@pytest.fixture
def echo(channel: grpc.aio.Channel) -> EchoStub:
    return EchoStub(channel)
