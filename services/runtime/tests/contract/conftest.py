"""One system for each module, asked over either transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from layer.runtime.v1 import runtime_pb2_grpc
from layer_kit.rpc.client import open_channel
from layer_testing.function_system import FunctionSystem, function_system
from layer_testing.pipeline_transports import PipelinesOverHttp, PipelineTransport
from layer_testing.pipelines_over_rpc import PipelinesOverRpc
from layer_testing.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def layer(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[FunctionSystem]:
    folder = tmp_path_factory.mktemp("c")
    async with function_system(
        folder,
        postgres.new_database(),
        LAYER_RUNTIME_OBJECTS_DIRECTORY=str(folder / "objects"),
        PIPELINE_STATUS_CACHE_TTL_MS="0",
    ) as system:
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["http", "grpc"])
async def transport(
    request: pytest.FixtureRequest, layer: FunctionSystem
) -> AsyncIterator[PipelineTransport]:
    if request.param == "http":
        yield PipelinesOverHttp(layer.edge.address)
    else:
        async with open_channel(layer.runtimes[0].addresses["grpc"], retries=False) as channel:
            yield PipelinesOverRpc(runtime_pb2_grpc.PipelineServiceStub(channel))
