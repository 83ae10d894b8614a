"""The end of a namespace: everything that was counted of it goes."""

from __future__ import annotations

from dataclasses import dataclass

from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_snapshots.application.bodies import Bodies
from layer_snapshots.application.checkpoints import Checkpoints
from layer_snapshots.application.jobs import Jobs
from layer_snapshots.application.latest import Latest
from layer_snapshots.application.states import States
from layer_snapshots.application.taking import Taking
from layer_snapshots.domain.keys import CHECKPOINTS, PARTIALS, SNAPSHOTS, folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """Deletes snapshots, checkpoints and jobs; the policy stays, for a namespace to come."""

    objects: ObjectStore
    taking: Taking
    jobs: Jobs
    states: States
    bodies: Bodies
    checkpoints: Checkpoints
    latest: Latest

    async def __call__(self, namespace: Namespace) -> int:
        """Delete all of it; return how many snapshots and checkpoints that were.

        Raises:
            UpstreamError: The object store's own; do it again.
        """
        await self.taking.stop(namespace)
        await self.states.forget(namespace)  # whoever else takes a snapshot loses its lease by it
        await self.jobs.purge(namespace)
        count = 0
        for place in (SNAPSHOTS, CHECKPOINTS):
            count += await self.objects.delete_prefix(folder(place, namespace))
        await self.objects.delete_prefix(folder(PARTIALS, namespace))
        self.bodies.forget(namespace)
        self.checkpoints.forget(namespace)
        await self.latest.forget(namespace)
        return count
