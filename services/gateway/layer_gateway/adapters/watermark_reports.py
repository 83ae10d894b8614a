"""Watermarks on their way to the snapshots service: the latest of each namespace, in batches."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import grpc.aio

from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_kit.names import Namespace
from layer_kit.rpc.errors import from_rpc_error

TIMEOUT_S: Final = 5.0
NAMESPACES_MAX: Final = 10_000
"""As many as one call takes; of more, those that have waited longest go."""


class WatermarkBatches:
    """Implements ``WatermarkReports``; ``send`` is to be called again and again."""

    def __init__(self, stub: snapshots_pb2_grpc.SnapshotsServiceStub) -> None:
        self._stub = stub
        self._waiting: dict[Namespace, tuple[int, bytes]] = {}

    def advanced(self, namespace: Namespace, watermark_ms: int, authorization: bytes) -> None:
        known = self._waiting.get(namespace)
        if known is None and len(self._waiting) >= NAMESPACES_MAX:
            del self._waiting[next(iter(self._waiting))]
        if known is None or watermark_ms > known[0]:
            self._waiting[namespace] = (watermark_ms, authorization)

    async def send(self) -> None:
        """Send what waits, one batch for each key; what cannot be sent goes on waiting.

        Raises:
            LayerError: When the service is away.
        """
        taken, self._waiting = self._waiting, {}
        batches: defaultdict[bytes, list[snapshots_pb2.Watermark]] = defaultdict(list)
        for namespace, (watermark_ms, authorization) in taken.items():
            watermark = snapshots_pb2.Watermark(namespace=namespace, watermark_ms=watermark_ms)
            batches[authorization].append(watermark)
        try:
            for authorization, watermarks in batches.items():
                await self._stub.RecordWatermarks(
                    snapshots_pb2.RecordWatermarksRequest(watermarks=watermarks),
                    metadata=_metadata(authorization),
                    timeout=TIMEOUT_S,
                )
        except grpc.aio.AioRpcError as error:
            for namespace, (watermark_ms, authorization) in taken.items():
                self.advanced(namespace, watermark_ms, authorization)
            raise from_rpc_error(error) from error


def _metadata(authorization: bytes) -> tuple[tuple[str, str], ...]:
    return (("authorization", authorization.decode("latin-1")),) if authorization else ()
