"""A gateway with rows that a test chooses, on a real socket: it pauses and fails when told to."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import msgspec

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import LayerError, NotFoundError, PreconditionError
from layer_kit.rpc.errors import status_code, to_status
from layer_snapshots_testing.client import TOOLS, WATERMARK_MS, SnapshotsClient

Row = Mapping[str, Any]
"""Attributes of a row; ``id`` and ``_at``, when it was written, among them."""


class RowsGateway(gateway_pb2_grpc.GatewayServiceServicer, gateway_pb2_grpc.ScanServiceServicer):
    """Streams the rows of its namespaces."""

    def __init__(self) -> None:
        self.namespaces: dict[str, Sequence[Row]] = {}
        self.watermark_ms: int | None = 1779999999500
        self.cached: Mapping[str, int] | None = None
        """What the cache is to have counted of any field, as of the watermark."""
        self.gate = asyncio.Event()
        """While it is not set, a stream waits before its second page."""
        self.gate.set()
        self.is_held = asyncio.Event()
        """Set once a stream has waited at the gate."""
        self.failures: list[LayerError] = []
        """Each ends a stream, or keeps it from beginning, in their order."""
        self.refusals: list[LayerError] = []
        """Each refuses a call that is no stream, in their order."""
        self.requests: list[gateway_pb2.StreamValuesRequest] = []
        self.authorizations: list[str] = []

    async def GetNamespace(
        self, request: gateway_pb2.GetNamespaceRequest, context: Any
    ) -> gateway_pb2.GetNamespaceResponse:
        await self._refuse(context)
        rows = await self._rows(request.namespace, context)
        return gateway_pb2.GetNamespaceResponse(
            namespace=gateway_pb2.Namespace(
                name=request.namespace,
                row_count=len(rows),
                layer=gateway_pb2.LayerState(stable_as_of_ms=self.watermark_ms),
            )
        )

    async def StreamValues(
        self, request: gateway_pb2.StreamValuesRequest, context: Any
    ) -> AsyncIterator[gateway_pb2.StreamValuesResponse]:
        self.requests.append(request)
        self.authorizations.append(dict(context.invocation_metadata()).get("authorization", ""))
        rows = [
            row
            for row in await self._rows(request.namespace, context)
            if row["id"] > request.after_id.text and row.get("_at", 0) <= request.as_of_ms
        ]
        rows = [row for row in rows if _matches(row, request)]
        for start in range(0, max(1, len(rows)), request.page_size):
            if start:
                if not self.gate.is_set():
                    self.is_held.set()
                await self.gate.wait()
            if self.failures:
                await _abort(self.failures.pop(0), context)
            yield _message(rows[start : start + request.page_size], request.attribute_names)

    async def CountCachedValues(
        self, request: gateway_pb2.CountCachedValuesRequest, context: Any
    ) -> gateway_pb2.CountCachedValuesResponse:
        await self._refuse(context)
        if self.cached is None:
            await _abort(PreconditionError("CACHE_NOT_WHOLE", "It is not warm."), context)
        counts = self.cached or {}
        return gateway_pb2.CountCachedValuesResponse(
            row_count=sum(counts.values()),
            values=[gateway_pb2.ScanValue(value=v, row_count=n) for v, n in counts.items()],
            distinct_count=len(counts),
            warmed_through_ms=self.watermark_ms or 0,
        )

    async def _refuse(self, context: Any) -> None:
        if self.refusals:
            await _abort(self.refusals.pop(0), context)

    async def _rows(self, namespace: str, context: Any) -> Sequence[Row]:
        if namespace not in self.namespaces:
            error = NotFoundError("NAMESPACE_NOT_FOUND", f"There is no namespace {namespace}.")
            await _abort(error, context)
        return self.namespaces[namespace]


@asynccontextmanager
async def rows_gateway() -> AsyncIterator[tuple[RowsGateway, str]]:
    """Serve on a free port; yield the gateway and its address."""
    gateway = RowsGateway()  # type: ignore[abstract]  # other calls are not offered
    server = grpc.aio.server()
    gateway_pb2_grpc.add_GatewayServiceServicer_to_server(gateway, server)
    gateway_pb2_grpc.add_ScanServiceServicer_to_server(gateway, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield gateway, f"127.0.0.1:{port}"
    finally:
        gateway.gate.set()
        await server.stop(0)


def _matches(row: Row, request: gateway_pb2.StreamValuesRequest) -> bool:
    """Tell whether a row passes the filter, which tests make an equality of text."""
    if not request.HasField("filter"):
        return True
    compared = request.filter.comparison
    return bool(row.get(compared.attribute) == compared.value.string_value)


def _message(rows: Sequence[Row], names: Sequence[str]) -> gateway_pb2.StreamValuesResponse:
    message = gateway_pb2.StreamValuesResponse(
        row_count=len(rows),
        columns=[
            gateway_pb2.ValueColumn(
                values_json=msgspec.json.encode([row[name] for row in rows if name in row])
            )
            for name in names
        ],
    )
    if rows:
        kind = common_pb2.DOCUMENT_ID_KIND_STRING
        message.last_id.CopyFrom(common_pb2.DocumentId(kind=kind, text=rows[-1]["id"]))
    return message


async def _abort(error: LayerError, context: Any) -> None:
    status = to_status(error, domain="layer.gateway.v1")
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(status_code(error), error.message, trailers)


async def take(
    client: SnapshotsClient, gateway: RowsGateway, rows: Any = TOOLS, at_ms: int = WATERMARK_MS
) -> None:
    """Have the service take one more snapshot, of other rows than before."""
    gateway.namespaces[client.namespace] = rows
    known = len(await client.history())
    await client.advance(at_ms)
    await client.newest(known + 1)
