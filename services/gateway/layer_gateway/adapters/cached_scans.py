"""Scans of the cache over gRPC: what every replica holds, one after the other or all counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

import grpc.aio

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_gateway.ports.scanning import CachedPage, CachedSelection
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke
from layer_kit.rpc.context import outgoing_metadata
from layer_kit.rpc.errors import from_rpc_error

TIMEOUT_S: Final = 600.0
"""A scan of a replica takes time in proportion to what that holds."""


class CachedScansClient:
    """Implements ``CachedScans`` over every replica of the cache."""

    def __init__(self, stubs: Sequence[cache_pb2_grpc.CacheServiceStub]) -> None:
        self._stubs = stubs

    async def count(self, namespace: Namespace, selection: CachedSelection) -> int:
        request = cache_pb2.CountRowsRequest(namespace=namespace, selection=_message(selection))
        answers = await asyncio.gather(
            *(invoke(stub.CountRows, request, timeout_s=TIMEOUT_S) for stub in self._stubs)
        )
        return sum(answer.row_count for answer in answers)

    async def pages(
        self, namespace: Namespace, selection: CachedSelection, *, name: str, page_size: int
    ) -> AsyncIterator[CachedPage]:
        request = cache_pb2.ScanRowsRequest(
            namespace=namespace,
            page_size=page_size,
            attribute_names=[name] if name else (),
            ids_only=not name,
            selection=_message(selection),
        )
        for replica, stub in enumerate(self._stubs):
            call = stub.ScanRows(request, timeout=TIMEOUT_S, metadata=outgoing_metadata())
            try:
                async for page in call:
                    yield CachedPage(replica=replica, ids=page.ids, bodies=page.bodies)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error
            finally:
                call.cancel()


def _message(selection: CachedSelection) -> cache_pb2.RowSelection:
    return cache_pb2.RowSelection(
        filter=bytes(selection.filter or b""),
        attribute_types=selection.types,
        upserted_until_ms=selection.upserted_until_ms,
    )
