"""The latest snapshot of each namespace in use, remembered so that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

import structlog

from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_gateway.ports.scanning import FacetSnapshot
from layer_kit.clock import Monotonic
from layer_kit.errors import LayerError, NotFoundError, UpstreamError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke

log = structlog.get_logger(__name__)

REMEMBERED_MAX: Final = 256
FRESH_S: Final = 1.0
"""From this age on a snapshot in use is asked for anew, in the background."""

STALE_S: Final = 10.0
"""An older one is not answered with before it was."""

TIMEOUT_S: Final = 10.0


class NoSnapshots:
    """Implements ``LatestSnapshots`` where there is no such service."""

    async def latest(self, namespace: Namespace) -> FacetSnapshot | None:
        return None


class LatestSnapshotsClient:
    """Implements ``LatestSnapshots`` over the snapshots service."""

    def __init__(
        self, stub: snapshots_pb2_grpc.SnapshotsServiceStub, *, monotonic: Monotonic
    ) -> None:
        self._stub = stub
        self._monotonic = monotonic
        self._known: OrderedDict[Namespace, tuple[float, FacetSnapshot | None]] = OrderedDict()
        self._asking: dict[Namespace, asyncio.Task[FacetSnapshot | None]] = {}

    async def latest(self, namespace: Namespace) -> FacetSnapshot | None:
        known = self._known.get(namespace)
        age_s = STALE_S if known is None else self._monotonic() - known[0]
        if known is None or age_s >= STALE_S:
            return await asyncio.shield(self._ask_once(namespace))
        if age_s >= FRESH_S:
            self._ask_once(namespace)
        self._known.move_to_end(namespace)
        return known[1]

    async def aclose(self) -> None:
        """Give up what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask_once(self, namespace: Namespace) -> asyncio.Task[FacetSnapshot | None]:
        asking = self._asking.get(namespace)
        if asking is None:
            asking = self._asking[namespace] = asyncio.create_task(self._ask(namespace))
            asking.add_done_callback(lambda task: self._answered(namespace, task))
        return asking

    def _answered(self, namespace: Namespace, task: asyncio.Task[FacetSnapshot | None]) -> None:
        self._asking.pop(namespace, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("snapshot_not_asked", namespace=namespace, message=str(error))

    async def _ask(self, namespace: Namespace) -> FacetSnapshot | None:
        asked_s = self._monotonic()
        request = snapshots_pb2.GetSnapshotRequest(namespace=namespace)
        found: FacetSnapshot | None = None
        try:
            answer = await invoke(self._stub.GetSnapshot, request, timeout_s=TIMEOUT_S)
            found = _snapshot(answer.snapshot)
        except NotFoundError:
            pass
        except LayerError as error:
            raise UpstreamError(
                "SNAPSHOTS_FAILED",
                f"The snapshots could not be read: {error.message}",
                namespace=namespace,
            ) from error
        self._known[namespace] = (asked_s, found)
        self._known.move_to_end(namespace)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return found


def _snapshot(message: snapshots_pb2.Snapshot) -> FacetSnapshot:
    return FacetSnapshot(
        sha=message.sha,
        watermark_ms=message.watermark_ms,
        fields={
            field.name: {one.value: one.row_count for one in field.values}
            for field in message.fields
        },
    )
