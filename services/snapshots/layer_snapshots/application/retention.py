"""Retention: what has expired goes, except for the latest and what has a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import LayerError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_snapshots.application.bodies import Bodies
from layer_snapshots.application.catalogue import Catalogue
from layer_snapshots.application.checkpoints import Checkpoints
from layer_snapshots.application.policies import Policies
from layer_snapshots.application.states import States
from layer_snapshots.domain.keys import SNAPSHOTS, SnapshotName, folder, snapshot_name

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Keeps policies to their word.

    Args:
        pruned: Told of a namespace how many of its snapshots went.
    """

    objects: ObjectStore
    policies: Policies
    catalogue: Catalogue
    checkpoints: Checkpoints
    bodies: Bodies
    states: States
    now_ms: EpochMilliseconds
    pruned: Callable[[str, int], None]

    async def keep_up(self) -> None:
        """Go once over every namespace with a retention; one that fails is left for next time."""
        for namespace in self.policies.with_retention():
            try:
                await self.prune(namespace)
            except LayerError as error:
                log.warning("retention_failed", namespace=namespace, reason=error.reason)

    async def prune(self, namespace: Namespace) -> int:
        """Delete what has expired of a namespace; return how many snapshots that were.

        Raises:
            UpstreamError: The object store's own; what is left goes next time.
        """
        policy = self.policies.get(namespace)
        if policy is None or policy.retention_ms is None:
            return 0
        expired = await self._before(namespace, self.now_ms() - policy.retention_ms)
        if not expired:
            return 0
        kept = {one.snapshot for one in await self.checkpoints.all(namespace)}
        kept.update(await self.catalogue.newest(namespace, 1))
        if (latest := (await self.states.read(namespace)).state.latest) is not None:
            kept.add(latest)
        gone = [name for name in expired if name not in kept]
        for name in gone:
            await self.bodies.delete(namespace, name)
        if gone:
            self.pruned(namespace, len(gone))
            log.info("snapshots_expired", namespace=namespace, snapshot_count=len(gone))
        return len(gone)

    async def _before(self, namespace: Namespace, first_ms: int) -> list[SnapshotName]:
        """Return the snapshots of watermarks before ``first_ms``, the oldest first."""
        found: list[SnapshotName] = []
        async for key in self.objects.iter_keys(folder(SNAPSHOTS, namespace)):
            name = snapshot_name(key)
            if name is not None and name.watermark_ms >= first_ms:
                break
            if name is not None:
                found.append(name)
        return found
