"""Calls by gRPC, to the runtime service itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import grpc
import grpc.aio

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_sdk.connection import Connection
from layer_sdk.items import Failure, Item, Result
from layer_sdk.transport import Refused, Unavailable
from layer_sdk.values import from_value, to_value, to_vector

CALL_S_MAX: Final = 60.0
MESSAGE_BYTES_MAX: Final = 256 * 1024 * 1024
LATER: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
    }
)
KINDS: Final[dict[str, runtime_pb2.FailureKind.ValueType]] = {
    "transient": runtime_pb2.FAILURE_KIND_TRANSIENT,
    "permanent": runtime_pb2.FAILURE_KIND_PERMANENT,
    "released": runtime_pb2.FAILURE_KIND_RELEASED,
}


class GrpcFunctions:
    """The items of one function."""

    def __init__(self, to: Connection, function_id: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            to.runtime_address,
            options=(
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ),
        )
        self._stub = runtime_pb2_grpc.FunctionServiceStub(self._channel)
        self._names = {"function_id": function_id, "worker_id": to.worker_id}

    async def claim(self, limit: int, lease_s: int | None) -> Sequence[Item]:
        request = runtime_pb2.ClaimItemsRequest(**self._names, limit=limit, lease_s=lease_s or 0)
        answer = await _call(self._stub.ClaimItems, request)
        return [
            Item(
                one.item.namespace,
                one.item.id.text,
                one.item.lease_token,
                {name: from_value(value) for name, value in one.inputs.items()},
            )
            for one in answer.items
        ]

    async def heartbeat(self, items: Sequence[Item]) -> int:
        request = runtime_pb2.HeartbeatItemsRequest(**self._names, items=map(_reference, items))
        return int((await _call(self._stub.HeartbeatItems, request)).updated_count)

    async def complete(self, results: Sequence[Result]) -> int:
        request = runtime_pb2.CompleteItemsRequest(**self._names, items=map(_result, results))
        return int((await _call(self._stub.CompleteItems, request)).updated_count)

    async def fail(self, failures: Sequence[Failure]) -> int:
        request = runtime_pb2.FailItemsRequest(
            **self._names,
            items=[
                runtime_pb2.ItemFailure(
                    item=_reference(one.item), kind=KINDS[one.kind], message=one.message
                )
                for one in failures
            ],
        )
        return int((await _call(self._stub.FailItems, request)).updated_count)

    async def aclose(self) -> None:
        await self._channel.close()


async def _call(method: Callable[..., Awaitable[Any]], request: object) -> Any:
    try:
        return await method(request, timeout=CALL_S_MAX)
    except grpc.aio.AioRpcError as error:
        message = f"{error.code().name}: {error.details()}"
        if error.code() in LATER:
            raise Unavailable(message) from error
        raise Refused(message) from error


def _reference(item: Item) -> runtime_pb2.ItemReference:
    return runtime_pb2.ItemReference(
        namespace=item.namespace,
        id=common_pb2.DocumentId(text=item.id),
        lease_token=item.lease_token,
    )


def _result(result: Result) -> runtime_pb2.CompletedItem:
    message = runtime_pb2.CompletedItem(item=_reference(result.item))
    for name, value in result.attributes.items():
        message.attributes[name].CopyFrom(to_value(value))
    if result.vector is not None:
        message.vector.CopyFrom(to_vector(result.vector))
    if result.vectors is not None:
        message.vectors.vectors.extend(map(to_vector, result.vectors))
    return message
