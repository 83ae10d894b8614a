"""The rows that pipelines write, by way of the gateway, so that they are stamped and cached."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc.aio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import (
    DeadlineError,
    LayerError,
    NotFoundError,
    QuotaExceededError,
    UnavailableError,
    UpstreamError,
)
from layer_kit.rpc.context import outgoing_metadata
from layer_kit.rpc.errors import from_rpc_error
from layer_runtime.domain.pipelines import Distance
from layer_wire.reserved import OF_DOCUMENTS

Response = TypeVar("Response")

CALL_S_MAX: Final = 60.0
RETRY_AFTER_S: Final = 1.0
VECTORS: Final = "vectors"
VECTOR_NAMES: Final = frozenset({"vector", VECTORS})
_DISTANCES: Final = {
    Distance.COSINE: common_pb2.DISTANCE_METRIC_COSINE_DISTANCE,
    Distance.EUCLIDEAN: common_pb2.DISTANCE_METRIC_EUCLIDEAN_SQUARED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTargetRows:
    """Implements ``TargetRows`` with the key of the runtime."""

    stub: gateway_pb2_grpc.GatewayServiceStub
    key: str

    async def write(self, namespace: str, distance: Distance, rows: Sequence[bytes]) -> None:
        request = gateway_pb2.WriteRowsRequest(
            namespace=namespace, upserts=[common_pb2.Row.FromString(row) for row in rows]
        )
        request.is_pipeline_result = any(map(_has_document, request.upserts))
        if any(VECTOR_NAMES & row.attributes.keys() for row in request.upserts):
            request.distance_metric = _DISTANCES[distance]
        if several := next((row for row in request.upserts if VECTORS in row.attributes), None):
            # The store infers one vector of a row, and not several.
            dimension = several.attributes[VECTORS].vector_list_value.vectors[0].dimension
            request.schema[VECTORS].type = f"[][{dimension}]f32"
            request.schema[VECTORS].is_vector_indexed = True
        await self._call(self.stub.WriteRows, request)

    async def is_indexing(self, namespace: str) -> bool:
        request = gateway_pb2.GetNamespaceRequest(namespace=namespace)
        try:
            found = await self._call(self.stub.GetNamespace, request)
        except (NotFoundError, UnavailableError):
            return False
        return found.namespace.index.status == gateway_pb2.INDEX_STATUS_UPDATING

    async def _call(self, method: Callable[..., Awaitable[Response]], request: object) -> Response:
        metadata = (*outgoing_metadata(), ("authorization", f"Bearer {self.key}"))
        try:
            return await method(request, metadata=metadata, timeout=CALL_S_MAX)
        except grpc.aio.AioRpcError as error:
            raise _told(from_rpc_error(error)) from error


def _has_document(row: common_pb2.Row) -> bool:
    return any(name in row.attributes for name in OF_DOCUMENTS)


def _told(error: LayerError) -> LayerError:
    """Return what a caller of ours hears: whatever keeps the gateway from answering is one."""
    away = (UnavailableError, UpstreamError, QuotaExceededError, DeadlineError)
    if not isinstance(error, away):
        return error
    pause_s = RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
    return UnavailableError(
        "GATEWAY_DOWN",
        f"The gateway cannot be used at the moment: {error.message}",
        retry_after_s=pause_s,
        cause=error.reason,
    )
