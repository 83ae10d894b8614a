"""Pipelines as their gRPC callers see them: two replicas, one database, a gateway that can fail."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_kit.errors import LayerError
from layer_kit.rpc.client import invoke, open_channel
from layer_testing.postgres import PostgresServer
from layer_testing.processes import ServiceProcess, running

CHUNKS = [
    runtime_pb2.Chunk(chunk_id="c-0", text="A saw.", metadata_json=b'{"page":1}'),
    runtime_pb2.Chunk(chunk_id="c-1"),
]
VECTOR = common_pb2.Vector(dimension=2, data=bytes(8))
CALL_S_MAX = 20.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Gateway(gateway_pb2_grpc.GatewayServiceServicer):
    """Keeps the rows that are written; a test may make it fail, or do something first."""

    rows: dict[str, list[common_pb2.Row]] = field(default_factory=dict)
    before_answer: Callable[[], Awaitable[None]] | None = None
    refuses_with: grpc.StatusCode | None = None
    is_indexing: bool = False

    async def WriteRows(
        self,
        request: gateway_pb2.WriteRowsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> gateway_pb2.WriteRowsResponse:
        if self.refuses_with is not None:
            await context.abort(self.refuses_with, "as the test says")
        self.rows.setdefault(request.namespace, []).extend(request.upserts)
        if self.before_answer is not None:
            await self.before_answer()
        return gateway_pb2.WriteRowsResponse()

    async def GetNamespace(
        self,
        request: gateway_pb2.GetNamespaceRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> gateway_pb2.GetNamespaceResponse:
        updating, done = gateway_pb2.INDEX_STATUS_UPDATING, gateway_pb2.INDEX_STATUS_UP_TO_DATE
        state = gateway_pb2.IndexState(status=updating if self.is_indexing else done)
        return gateway_pb2.GetNamespaceResponse(namespace=gateway_pb2.Namespace(index=state))


@dataclass
class Replica:
    """One process of the service, and a stub to call it by."""

    process: ServiceProcess
    stub: runtime_pb2_grpc.PipelineServiceStub
    pipeline: str = ""

    async def call(self, method: str, request: Any) -> Any:
        return await invoke(getattr(self.stub, method), request, timeout_s=CALL_S_MAX)

    async def refusal(self, method: str, request: Any) -> LayerError:
        with pytest.raises(LayerError) as caught:
            await self.call(method, request)
        return caught.value

    async def stage(self, document: str) -> None:
        await self.call(
            "StageDocument",
            runtime_pb2.StageDocumentRequest(
                pipeline_id=self.pipeline, document_id=document, chunks=CHUNKS
            ),
        )

    async def claim(self, worker: str = "w", **more: Any) -> runtime_pb2.ClaimDocumentsResponse:
        request = runtime_pb2.ClaimDocumentsRequest(
            pipeline_id=self.pipeline, worker_id=worker, **more
        )
        claimed: runtime_pb2.ClaimDocumentsResponse = await self.call("ClaimDocuments", request)
        return claimed

    async def write(self, document: str, lease_token: int = 0) -> None:
        await self.call("WriteVectors", self.writing(document, lease_token))

    def writing(self, document: str, lease_token: int = 0) -> runtime_pb2.WriteVectorsRequest:
        row = runtime_pb2.ChunkVector(row_id=f"{document}#0", vector=VECTOR)
        return runtime_pb2.WriteVectorsRequest(
            pipeline_id=self.pipeline,
            document_id=document,
            vectors=[row],
            lease_token=lease_token,
        )

    async def status(self) -> runtime_pb2.GetPipelineStatusResponse:
        request = runtime_pb2.GetPipelineStatusRequest(pipeline_id=self.pipeline)
        status: runtime_pb2.GetPipelineStatusResponse = await self.call(
            "GetPipelineStatus", request
        )
        return status


@dataclass
class System:
    """What the tests of this file share."""

    gateway: Gateway
    gateway_address: str
    database_url: str
    folder: Path
    replicas: list[Replica] = field(default_factory=list)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    gateway = Gateway()  # type: ignore[abstract]  # of whose methods two are called
    async with AsyncExitStack() as stack:
        system = System(
            gateway=gateway,
            gateway_address=await stack.enter_async_context(_served(gateway)),
            database_url=postgres.new_database(),
            folder=tmp_path_factory.mktemp("o"),
        )
        opening = [stack.enter_async_context(_replica(system)) for _ in range(2)]
        system.replicas = list(await asyncio.gather(*opening))
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def replicas(system: System) -> list[Replica]:
    """Two replicas that have a pipeline which no other test knows."""
    pipeline = f"books-{uuid.uuid4().hex}"
    for replica in system.replicas:
        replica.pipeline = pipeline
    await system.replicas[0].call(
        "CreatePipeline",
        runtime_pb2.CreatePipelineRequest(pipeline_id=pipeline, target_namespace="rows"),
    )
    return system.replicas


@pytest.fixture
def gateway(system: System) -> Gateway:
    gateway = system.gateway
    gateway.rows, gateway.before_answer, gateway.refuses_with = {}, None, None
    gateway.is_indexing = False
    return gateway


@asynccontextmanager
async def _served(gateway: Gateway) -> AsyncIterator[str]:
    server = grpc.aio.server()
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(gateway, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def _replica(system: System) -> AsyncIterator[Replica]:
    async with (
        running(
            "layer_runtime",
            LAYER_RUNTIME_GRPC_ADDRESS="127.0.0.1:0",
            LAYER_RUNTIME_GATEWAY_ADDRESS=system.gateway_address,
            LAYER_RUNTIME_OBJECTS_DIRECTORY=str(system.folder / "objects"),
            DATABASE_URL=system.database_url,
            PIPELINE_STATUS_CACHE_TTL_MS="0",
        ) as process,
        open_channel(process.addresses["grpc"], retries=False) as channel,
    ):
        yield Replica(process, runtime_pb2_grpc.PipelineServiceStub(channel))


async def test_a_replica_that_dies_between_write_and_queue_costs_nothing(
    system: System, gateway: Gateway, replicas: list[Replica]
) -> None:
    other = replicas[0]
    async with _replica(system) as dying:
        dying.pipeline = other.pipeline
        await dying.stage("a")
        await dying.claim(lease_s=1)

        async def die() -> None:
            gateway.before_answer = None
            await dying.process.kill()

        gateway.before_answer = die
        await dying.refusal("WriteVectors", dying.writing("a"))
    assert len(gateway.rows["rows"]) == 1
    async with asyncio.timeout(CALL_S_MAX):
        while not (claimed := await other.claim("second")).document_ids:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await other.write("a", claimed.lease_token)

    first, second = gateway.rows["rows"]
    assert first == second
    assert dict((await other.status()).stage_counts) == {"indexed": 1}


async def test_replicas_share_the_queue_and_what_is_staged(replicas: list[Replica]) -> None:
    one, other = replicas
    for number in range(6):
        await replicas[number % 2].stage(f"d{number}")

    taken = await asyncio.gather(one.claim("w1", limit=3), other.claim("w2", limit=3))

    assert sorted(id_ for claim in taken for id_ in claim.document_ids) == [
        f"d{number}" for number in range(6)
    ]
    request = runtime_pb2.ListChunksRequest(
        pipeline_id=replicas[0].pipeline, document_id="d0", page_size=1
    )
    first = await other.call("ListChunks", request)
    request.page_token = first.next_page_token
    second = await one.call("ListChunks", request)
    assert [*first.chunks, *second.chunks] == CHUNKS
    assert not second.next_page_token
    status = await one.status()
    assert (status.processing_count, dict(status.stage_counts)) == (6, {"embedding": 6})


async def test_ten_thousand_documents_are_created_at_once_and_a_thousand_moved(
    replicas: list[Replica],
) -> None:
    replica = replicas[0]
    ids = [f"job-{number:05}" for number in range(10_001)]

    def moving(count: int, *, creates: bool) -> runtime_pb2.MoveDocumentsRequest:
        return runtime_pb2.MoveDocumentsRequest(
            pipeline_id=replica.pipeline,
            document_ids=ids[:count],
            stage="pending",
            creates_missing=creates,
        )

    for request in (moving(10_001, creates=True), moving(1001, creates=False)):
        assert (await replica.refusal("MoveDocuments", request)).reason == "TOO_MANY_IDS"
    for created in (10_000, 0):
        answer = await replica.call("MoveDocuments", moving(10_000, creates=True))
        assert answer.updated_count == created
    moved = await replica.call("MoveDocuments", moving(1000, creates=False))
    assert moved.updated_count == 1000
    assert dict((await replica.status()).stage_counts) == {"pending": 10_000}


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_gateway_that_is_away_or_full_costs_no_attempt(
    gateway: Gateway, replicas: list[Replica], code: grpc.StatusCode
) -> None:
    replica = replicas[0]
    await replica.stage("a")
    claimed = await replica.claim()
    gateway.refuses_with = code

    error = await replica.refusal("WriteVectors", replica.writing("a", claimed.lease_token))

    assert error.reason == "GATEWAY_DOWN"
    assert error.retryable
    gateway.refuses_with = None
    await replica.write("a", claimed.lease_token)
    assert dict((await replica.status()).stage_counts) == {"indexed": 1}


async def test_a_claim_that_is_over_writes_nothing(
    gateway: Gateway, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    await replica.stage("a")
    late = await replica.claim()
    await replica.stage("a")

    error = await replica.refusal("WriteVectors", replica.writing("a", late.lease_token))

    assert error.reason == "LEASE_LOST"
    assert not gateway.rows
    assert dict((await replica.status()).stage_counts) == {"pending": 1}


async def test_rows_that_are_refused_count_as_an_attempt(
    gateway: Gateway, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    await replica.stage("a")
    gateway.refuses_with = grpc.StatusCode.INVALID_ARGUMENT
    await replica.claim()
    await replica.refusal("WriteVectors", replica.writing("a"))

    assert not (await replica.claim()).document_ids  # it waits
    assert dict((await replica.status()).stage_counts) == {"pending": 1}


async def test_a_pipeline_waits_on_upstream_while_that_is_indexing(
    gateway: Gateway, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    assert (await replica.status()).state == runtime_pb2.PIPELINE_STATE_IDLE
    await replica.stage("a")
    assert (await replica.status()).state == runtime_pb2.PIPELINE_STATE_PENDING
    await replica.write("a")
    gateway.is_indexing = True
    assert (await replica.status()).state == runtime_pb2.PIPELINE_STATE_WAITING_ON_UPSTREAM
    gateway.is_indexing = False
    assert (await replica.status()).state == runtime_pb2.PIPELINE_STATE_IDLE


async def test_chunks_that_the_object_store_lost_are_told_and_count_as_an_attempt(
    system: System, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    await replica.stage("a")
    for body in _bodies(system, replica):
        body.unlink()

    request = runtime_pb2.ListChunksRequest(pipeline_id=replicas[0].pipeline, document_id="a")
    assert (await replica.refusal("ListChunks", request)).reason == "CHUNKS_LOST"
    assert not (await replica.claim()).document_ids


async def test_a_deleted_pipeline_takes_its_chunks_with_it(
    system: System, replicas: list[Replica]
) -> None:
    await replicas[0].stage("a")
    assert len(_bodies(system, replicas[0])) == 1

    await replicas[0].call(
        "DeletePipeline", runtime_pb2.DeletePipelineRequest(pipeline_id=replicas[0].pipeline)
    )

    async with asyncio.timeout(CALL_S_MAX):
        while _bodies(system, replicas[0]):  # noqa: ASYNC110 -- no event tells it
            await asyncio.sleep(0.05)
    error = await replicas[1].refusal(
        "GetPipeline", runtime_pb2.GetPipelineRequest(pipeline_id=replicas[0].pipeline)
    )
    assert error.reason == "PIPELINE_NOT_FOUND"


def _bodies(system: System, replica: Replica) -> list[Path]:
    """Return the objects that hold chunks of the pipeline of a replica."""
    return [
        Path(folder) / name
        for folder, _, names in os.walk(system.folder / "objects")  # of which some may go meanwhile
        for name in names
        if ".json" in name and replica.pipeline in folder
    ]
