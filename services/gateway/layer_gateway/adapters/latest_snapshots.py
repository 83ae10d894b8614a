"""The latest snapshot of each field in use, remembered so that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import structlog

from layer.snapshots.v1 import snapshots_pb2, snapshots_pb2_grpc
from layer_gateway.ports.scanning import FacetSnapshot
from layer_kit.clock import Monotonic
from layer_kit.errors import LayerError, NotFoundError, UpstreamError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke

log = structlog.get_logger(__name__)

FIELDS_REMEMBERED_MAX: Final = 1024
VALUES_REMEMBERED_MAX: Final = 1_000_000
"""Of all fields together; those of one are 10,000 at most."""

FRESH_S: Final = 1.0
"""From this age on a snapshot in use is asked for anew, in the background."""

STALE_S: Final = 10.0
"""An older one is not answered with before it was."""

TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    checked_s: float
    """When it was the latest."""
    snapshot: FacetSnapshot | None

    @property
    def weight(self) -> int:
        return len(self.snapshot.counts or ()) if self.snapshot else 0


_Key = tuple[Namespace, str]


class LatestSnapshotsClient:
    """Implements ``LatestSnapshots`` over the snapshots service."""

    def __init__(
        self, stub: snapshots_pb2_grpc.SnapshotsServiceStub, *, monotonic: Monotonic
    ) -> None:
        self._stub = stub
        self._monotonic = monotonic
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._known_values_count = 0
        self._asking: dict[_Key, asyncio.Task[FacetSnapshot | None]] = {}

    async def latest(self, namespace: Namespace, field: str) -> FacetSnapshot | None:
        key = namespace, field
        known = self._known.get(key)
        age_s = STALE_S if known is None else self._monotonic() - known.checked_s
        if known is None or age_s >= STALE_S:
            return await asyncio.shield(self._ask_once(key))
        if age_s >= FRESH_S:
            self._ask_once(key)
        self._known.move_to_end(key)
        return known.snapshot

    async def aclose(self) -> None:
        """Give up what is being asked."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ask_once(self, key: _Key) -> asyncio.Task[FacetSnapshot | None]:
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key))
            asking.add_done_callback(lambda task: self._answered(key, task))
        return asking

    def _answered(self, key: _Key, task: asyncio.Task[FacetSnapshot | None]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("snapshot_not_asked", namespace=key[0], message=str(error))

    async def _ask(self, key: _Key) -> FacetSnapshot | None:
        """Ask which snapshot is the latest, and for its values if it is another than before."""
        asked_s = self._monotonic()
        known = self._known.get(key)
        snapshot = None if known is None else known.snapshot
        try:
            if snapshot is None or not await self._is_latest(key[0], snapshot):
                snapshot = await self._read(key)
        except NotFoundError:
            snapshot = None
        except LayerError as error:
            raise UpstreamError(
                "SNAPSHOTS_FAILED",
                f"The snapshots could not be read: {error.message}",
                namespace=key[0],
            ) from error
        self._remember(key, _Known(checked_s=asked_s, snapshot=snapshot))
        return snapshot

    async def _is_latest(self, namespace: Namespace, snapshot: FacetSnapshot) -> bool:
        request = snapshots_pb2.GetSnapshotRequest(namespace=namespace, without_fields=True)
        found = (await invoke(self._stub.GetSnapshot, request, timeout_s=TIMEOUT_S)).snapshot
        return (found.sha, found.watermark_ms) == (snapshot.sha, snapshot.watermark_ms)

    async def _read(self, key: _Key) -> FacetSnapshot:
        namespace, field = key
        request = snapshots_pb2.GetSnapshotRequest(namespace=namespace, field_names=[field])
        found = (await invoke(self._stub.GetSnapshot, request, timeout_s=TIMEOUT_S)).snapshot
        histogram = next((one for one in found.fields if one.name == field), None)
        counts = None
        if histogram is not None:
            counts = {one.value: one.row_count for one in histogram.values}
        return FacetSnapshot(sha=found.sha, watermark_ms=found.watermark_ms, counts=counts)

    def _remember(self, key: _Key, known: _Known) -> None:
        self._forget(key)
        self._known[key] = known
        self._known_values_count += known.weight
        while (
            len(self._known) > FIELDS_REMEMBERED_MAX
            or self._known_values_count > VALUES_REMEMBERED_MAX
        ):
            self._forget(next(iter(self._known)))

    def _forget(self, key: _Key) -> None:
        if (known := self._known.pop(key, None)) is not None:
            self._known_values_count -= known.weight
