"""What is kept of a namespace beside its rows, and goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from layer_gateway.ports.history import HistoryArchive
from layer_gateway.ports.snapshots import SnapshotArchive
from layer_kit.errors import LayerError, UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore

PURGED_FOLDERS: Final = (
    "snapshots",
    "checkpoints",
    "search-history",
    "clickstream",
    "shards",
    "jobs/scan",
    "scan-results",
)
"""Where the object store keeps what belongs to one namespace. Blobs stay: others may refer to them,
and what they are named by cannot mean something else later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeNamespace:
    """Deletes history and objects of a namespace that is gone upstream."""

    archive: HistoryArchive
    snapshots: SnapshotArchive
    objects: ObjectStore | None

    async def __call__(self, namespace: Namespace) -> int:
        """Delete all of it; return how many objects that were.

        Raises:
            UpstreamError: ``PURGE_FAILED``, when something may be left.
        """
        try:
            count = await self.archive.purge(namespace)
            count += await self.snapshots.purge(namespace)
            if self.objects is not None:
                for folder in PURGED_FOLDERS:
                    count += await self.objects.delete_prefix(f"{folder}/{namespace}/")
        except LayerError as error:
            raise UpstreamError(
                "PURGE_FAILED",
                f"Namespace {namespace} is deleted, but not all that was kept of it; "
                f"delete it again. {error.message}",
                namespace=namespace,
            ) from error
        return count
