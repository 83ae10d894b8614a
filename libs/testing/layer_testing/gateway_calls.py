"""The gateway's typed API as tests use it: processes, a caller with a key, rows in few words."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc.aio

from layer.common.v1 import common_pb2
from layer.common.v1.common_pb2 import Value
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.processes import ServiceProcess, running

KEY: Final = "a-key"
CALL_S_MAX: Final = 10.0

Answer = TypeVar("Answer")


@asynccontextmanager
async def embedded_store(directory: Path, **environment: str) -> AsyncIterator[str]:
    """Run the embedded store, which takes ``KEY`` alone; yield its base URL."""
    settings = {
        "LAYER_VECTORSTORE_HTTP_ADDRESS": "127.0.0.1:0",
        "LAYER_VECTORSTORE_DATA_DIRECTORY": str(directory),
        "LAYER_VECTORSTORE_API_KEYS": KEY,
    }
    async with running("layer_vectorstore", **(settings | environment)) as process:
        yield f"http://{process.addresses['http']}"


@asynccontextmanager
async def gateway_over(store_url: str, **environment: str) -> AsyncIterator[ServiceProcess]:
    """Run a gateway over a store, with ``KEY`` as the key of both."""
    settings = {
        "LAYER_GATEWAY_HTTP_ADDRESS": "127.0.0.1:0",
        "LAYER_GATEWAY_GRPC_ADDRESS": "127.0.0.1:0",
        "TPUF_URL": store_url,
        "TURBOPUFFER_API_KEY": KEY,
    }
    async with running("layer_gateway", **(settings | environment)) as process:
        yield process


class Caller:
    """Calls the gateway with a key; raises what the server raised."""

    def __init__(self, channel: grpc.aio.Channel, key: str = KEY) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {key}"),)

    async def write(self, namespace: str, **fields: Any) -> gateway_pb2.WriteRowsResponse:
        request = gateway_pb2.WriteRowsRequest(namespace=namespace, **fields)
        return await self.call(self._stub.WriteRows, request)

    async def query(self, namespace: str, **fields: Any) -> gateway_pb2.QueryRowsResponse:
        # Eventual reads are the default; tests look at what they have just written.
        fields = {"consistency_level": common_pb2.CONSISTENCY_LEVEL_STRONG} | fields
        request = gateway_pb2.QueryRowsRequest(namespace=namespace, **fields)
        return await self.call(self._stub.QueryRows, request)

    async def lookup(
        self, namespace: str, ids: Sequence[common_pb2.DocumentId], **fields: Any
    ) -> gateway_pb2.LookupRowsResponse:
        request = gateway_pb2.LookupRowsRequest(namespace=namespace, ids=ids, **fields)
        return await self.call(self._stub.LookupRows, request)

    async def stream(self, namespace: str, **fields: Any) -> list[gateway_pb2.StreamRowsResponse]:
        request = gateway_pb2.StreamRowsRequest(namespace=namespace, **fields)
        answers = self._stub.StreamRows(request, metadata=self._metadata, timeout=CALL_S_MAX)
        try:
            return [message async for message in answers]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def stream_values(
        self, namespace: str, **fields: Any
    ) -> list[gateway_pb2.StreamValuesResponse]:
        request = gateway_pb2.StreamValuesRequest(namespace=namespace, **fields)
        answers = self._stub.StreamValues(request, metadata=self._metadata, timeout=CALL_S_MAX)
        try:
            return [message async for message in answers]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def list(self, **fields: Any) -> gateway_pb2.ListNamespacesResponse:
        request = gateway_pb2.ListNamespacesRequest(**fields)
        return await self.call(self._stub.ListNamespaces, request)

    async def get(self, namespace: str) -> gateway_pb2.Namespace:
        request = gateway_pb2.GetNamespaceRequest(namespace=namespace)
        return (await self.call(self._stub.GetNamespace, request)).namespace

    async def delete(self, namespace: str) -> gateway_pb2.DeleteNamespaceResponse:
        request = gateway_pb2.DeleteNamespaceRequest(namespace=namespace)
        return await self.call(self._stub.DeleteNamespace, request)

    async def call(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        try:
            return await method(request, metadata=self._metadata, timeout=CALL_S_MAX)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error


def string_id(text: str) -> common_pb2.DocumentId:
    return common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_STRING, text=text)


def integer_id(value: int) -> common_pb2.DocumentId:
    return common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_INTEGER, text=str(value))


def vector(*components: float) -> common_pb2.Vector:
    data = struct.pack(f"<{len(components)}f", *components)
    return common_pb2.Vector(dimension=len(components), data=data)


def row(id_: common_pb2.DocumentId, **attributes: Value) -> common_pb2.Row:
    return common_pb2.Row(id=id_, attributes=attributes)


def integer(value: int) -> Value:
    return Value(int_value=value)


def text(value: str) -> Value:
    return Value(string_value=value)


def compare(
    attribute: str, operator: common_pb2.ComparisonOperator.ValueType, value: Value
) -> common_pb2.Filter:
    comparison = common_pb2.Comparison(attribute=attribute, operator=operator, value=value)
    return common_pb2.Filter(comparison=comparison)


async def write_numbered(caller: Caller, namespace: str, count: int) -> None:
    """Write rows ``r0`` … with a vector, a number and a word."""
    answer = await caller.write(
        namespace,
        upserts=[
            row(
                string_id(f"r{at}"),
                vector=Value(vector_value=vector(float(at), 1.0)),
                n=integer(at),
                word=text("even" if at % 2 == 0 else "odd"),
            )
            for at in range(count)
        ],
        distance_metric=common_pb2.DISTANCE_METRIC_EUCLIDEAN_SQUARED,
        schema={
            "word": gateway_pb2.AttributeSchema(
                type="string",
                is_filterable=True,
                full_text_search=gateway_pb2.FullTextSearch(),
            )
        },
    )
    assert (answer.affected_count, answer.upserted_count) == (count, count)
