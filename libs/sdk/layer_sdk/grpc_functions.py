"""The items of a function by gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2, runtime_pb2_grpc
from layer_sdk.connection import Connection
from layer_sdk.grpc_calls import invoke, open_runtime
from layer_sdk.items import Failure, Item, Result
from layer_sdk.values import from_value, to_value, to_vector

KINDS: Final[dict[str, runtime_pb2.FailureKind.ValueType]] = {
    "transient": runtime_pb2.FAILURE_KIND_TRANSIENT,
    "permanent": runtime_pb2.FAILURE_KIND_PERMANENT,
    "released": runtime_pb2.FAILURE_KIND_RELEASED,
}


class GrpcFunctions:
    """The items of one function."""

    def __init__(self, to: Connection, function_id: str) -> None:
        self._channel = open_runtime(to)
        self._stub = runtime_pb2_grpc.FunctionServiceStub(self._channel)
        self._names: dict[str, Any] = {"function_id": function_id, "worker_id": to.worker_id}

    async def claim(self, limit: int, lease_s: int | None) -> Sequence[Item]:
        request = runtime_pb2.ClaimItemsRequest(**self._names, limit=limit, lease_s=lease_s or 0)
        answer = await invoke(self._stub.ClaimItems, request)
        return [
            Item(
                one.item.namespace,
                one.item.id.text,
                one.item.lease_token,
                _input(one),
            )
            for one in answer.items
        ]

    async def heartbeat(self, items: Sequence[Item]) -> int:
        request = runtime_pb2.HeartbeatItemsRequest(**self._names, items=map(_reference, items))
        return int((await invoke(self._stub.HeartbeatItems, request)).updated_count)

    async def complete(self, results: Sequence[Result]) -> int:
        request = runtime_pb2.CompleteItemsRequest(**self._names, items=map(_result, results))
        return int((await invoke(self._stub.CompleteItems, request)).updated_count)

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
        return int((await invoke(self._stub.FailItems, request)).updated_count)

    async def aclose(self) -> None:
        await self._channel.close()


def _input(claimed: runtime_pb2.ClaimedItem) -> dict[str, Any]:
    """Return the inputs of a row, or those of all pages of a document as a list for each name."""
    if not claimed.pages:
        return {name: from_value(value) for name, value in claimed.inputs.items()}
    names = claimed.pages[0].inputs
    return {name: [from_value(page.inputs[name]) for page in claimed.pages] for name in names}


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
