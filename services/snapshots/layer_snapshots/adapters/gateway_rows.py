"""Rows read through the gateway over gRPC, going on where a stream was broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import grpc.aio

from layer.common.v1 import common_pb2
from layer.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from layer_kit.errors import (
    Code,
    DeadlineError,
    LayerError,
    NotConfiguredError,
)
from layer_kit.names import Namespace
from layer_kit.rpc.context import outgoing_metadata
from layer_kit.rpc.errors import from_rpc_error
from layer_snapshots.ports import CachedCounts, NamespaceFigures, ValuePage, Wanted

FIGURES_TIMEOUT_S: Final = 30.0
CACHED_TIMEOUT_S: Final = 600.0
"""A scan of the cache takes time in proportion to what that holds."""

PAGE_TIMEOUT_S: Final = 150.0
"""For one page; the gateway waits for the store for two minutes."""

ATTEMPTS_MAX: Final = 8
"""Failures in a row, without a page between them; some minutes with the pauses."""

PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 30.0

_PASSING: Final = frozenset(
    {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.ABORTED}
)


class GatewayRows:
    """Implements ``Rows``.

    Args:
        api_key: Sent as this service's own; empty sends that of whoever asks.
        waited: Told of each pause, by the reason of what went wrong.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        api_key: str,
        waited: Callable[[str], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        self._scans = gateway_pb2_grpc.ScanServiceStub(channel)
        self._authorization = f"Bearer {api_key}" if api_key else ""
        self._waited = waited
        self._sleep = sleep

    @property
    def has_key(self) -> bool:
        return bool(self._authorization)

    async def figures(self, namespace: Namespace, authorization: str) -> NamespaceFigures:
        try:
            answer = await self._stub.GetNamespace(
                gateway_pb2.GetNamespaceRequest(namespace=namespace),
                metadata=self._metadata(authorization),
                timeout=FIGURES_TIMEOUT_S,
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        found = answer.namespace
        has_watermark = found.layer.HasField("stable_as_of_ms")
        return NamespaceFigures(
            row_count=found.row_count if found.HasField("row_count") else None,
            watermark_ms=found.layer.stable_as_of_ms if has_watermark else None,
        )

    async def cached(self, wanted: Wanted) -> CachedCounts | None:
        request = gateway_pb2.CountCachedValuesRequest(
            namespace=wanted.namespace,
            attribute_name=wanted.fields[0],
            page_size=wanted.page_size,
        )
        if wanted.filter:
            request.filter.CopyFrom(common_pb2.Filter.FromString(wanted.filter))
        try:
            found = await self._scans.CountCachedValues(
                request, metadata=self._metadata(wanted.authorization), timeout=CACHED_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            refused = from_rpc_error(error)
            if refused.reason == "CACHE_NOT_WHOLE":
                return None
            raise refused from error
        return CachedCounts(
            row_count=found.row_count,
            counts={one.value: one.row_count for one in found.values},
            distinct_count=found.distinct_count,
            is_truncated=found.is_truncated,
            warmed_through_ms=found.warmed_through_ms,
        )

    async def values(self, wanted: Wanted) -> AsyncIterator[ValuePage]:
        request = gateway_pb2.StreamValuesRequest(
            namespace=wanted.namespace,
            attribute_names=wanted.fields,
            as_of_ms=wanted.as_of_ms,
            page_size=wanted.page_size,
        )
        if wanted.filter:
            request.filter.CopyFrom(common_pb2.Filter.FromString(wanted.filter))
        failure_count = 0
        while True:
            try:
                async for message in self._stream(request, wanted.authorization):
                    failure_count = 0
                    yield _page(message)
                    if message.HasField("last_id"):
                        request.after_id.CopyFrom(message.last_id)
            except LayerError as error:
                failure_count += 1
                if error.code not in _PASSING or failure_count >= ATTEMPTS_MAX:
                    raise
                self._waited(error.reason)
                pause_s = min(PAUSE_S_MAX, PAUSE_S * 2 ** (failure_count - 1))
                await self._sleep(max(pause_s, error.retry_after_s or 0.0))
            else:
                return

    async def _stream(
        self, request: gateway_pb2.StreamValuesRequest, authorization: str
    ) -> AsyncIterator[gateway_pb2.StreamValuesResponse]:
        call = self._stub.StreamValues(request, metadata=self._metadata(authorization))
        try:
            while True:
                async with asyncio.timeout(PAGE_TIMEOUT_S):
                    message = await call.read()
                if not isinstance(message, gateway_pb2.StreamValuesResponse):
                    return  # it is gRPC's mark of the end
                yield message
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        except TimeoutError as error:
            raise DeadlineError(
                "GATEWAY_SILENT", f"The gateway sent nothing for {PAGE_TIMEOUT_S:g} s."
            ) from error
        finally:
            call.cancel()

    def _metadata(self, authorization: str) -> tuple[tuple[str, str], ...]:
        own = self._authorization or authorization
        return (*outgoing_metadata(), *((("authorization", own),) if own else ()))


class NoRows:
    """The service without a gateway: it serves what there is and counts nothing."""

    has_key = False

    async def figures(self, namespace: Namespace, authorization: str) -> NamespaceFigures:
        raise _no_gateway()

    async def cached(self, wanted: Wanted) -> CachedCounts | None:
        raise _no_gateway()

    async def values(self, wanted: Wanted) -> AsyncIterator[ValuePage]:
        raise _no_gateway()
        yield  # makes this a generator


def _page(message: gateway_pb2.StreamValuesResponse) -> ValuePage:
    columns = [(column.values_json, column.type) for column in message.columns]
    return ValuePage(row_count=message.row_count, columns=columns)


def _no_gateway() -> NotConfiguredError:
    return NotConfiguredError(
        "GATEWAY_MISSING", "Rows cannot be read: set LAYER_SNAPSHOTS_GATEWAY_ADDRESS."
    )
