"""The gateway without a snapshots service."""

from __future__ import annotations

from typing import NoReturn

from layer_gateway.domain.snapshots import JobWanted, SnapshotPolicy, SnapshotsPage
from layer_gateway.ports.scanning import FacetSnapshot
from layer_gateway.ports.snapshots import Shown
from layer_gateway.ports.stores import Caller
from layer_kit.errors import NotConfiguredError
from layer_kit.names import Namespace


class NoSnapshots:
    """Reports that go nowhere, and an archive that says why it has nothing."""

    def advanced(self, namespace: Namespace, watermark_ms: int, authorization: bytes) -> None:
        pass

    async def row_count(self, namespace: Namespace) -> int | None:
        return None

    async def latest(self, namespace: Namespace, field: str) -> FacetSnapshot | None:
        return None

    async def start_job(self, namespace: Namespace, wanted: JobWanted, caller: Caller) -> Shown:
        _refuse()

    async def job(self, namespace: Namespace, job_id: str) -> Shown:
        _refuse()

    async def jobs(self, namespace: Namespace) -> list[Shown]:
        _refuse()

    async def snapshot(self, namespace: Namespace, sha: str) -> Shown:
        _refuse()

    async def history(self, namespace: Namespace, limit: int, before_ms: int | None) -> list[Shown]:
        _refuse()

    async def activity(
        self, limit: int, *, namespace: Namespace | None, since_ms: int | None, cursor: str
    ) -> SnapshotsPage:
        _refuse()

    async def difference(self, namespace: Namespace, old: str, new: str) -> Shown:
        _refuse()

    async def policy(self, namespace: Namespace) -> Shown:
        _refuse()

    async def set_policy(self, namespace: Namespace, policy: SnapshotPolicy) -> Shown:
        _refuse()

    async def create_checkpoint(self, namespace: Namespace, label: str) -> Shown:
        _refuse()

    async def checkpoint(self, namespace: Namespace, label: str) -> Shown:
        _refuse()

    async def checkpoints(self, namespace: Namespace, limit: int, before: str) -> SnapshotsPage:
        _refuse()

    async def purge(self, namespace: Namespace) -> int:
        return 0


def _refuse() -> NoReturn:
    raise NotConfiguredError(
        "SNAPSHOTS_OFF", "This gateway runs without snapshots; set LAYER_GATEWAY_SNAPSHOTS_ADDRESS."
    )
