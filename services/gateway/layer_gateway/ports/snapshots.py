"""What the use cases need of the snapshots service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from layer_gateway.domain.snapshots import JobWanted, SnapshotPolicy, SnapshotsPage
from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace

Shown = dict[str, object]
"""Something in the contract's words."""


class SnapshotArchive(Protocol):
    """Facet snapshots of namespaces, as routes show them.

    Every method raises ``NotConfiguredError`` (``SNAPSHOTS_OFF``) where there is no such service,
    and ``UpstreamError`` when it, or its object store, fails.
    """

    async def row_count(self, namespace: Namespace) -> int | None:
        """Return the rows of the latest snapshot, 0 without one; None where that is not known.

        Raises nothing: whoever asks does without.
        """
        ...

    async def start_job(self, namespace: Namespace, wanted: JobWanted, caller: Caller) -> Shown:
        """Start counting a field.

        Raises:
            InvalidRequestError: ``FIELD_INVALID``, ``FILTER_INVALID``.
            QuotaExceededError: ``TOO_MANY_JOBS``.
        """
        ...

    async def job(self, namespace: Namespace, job_id: str) -> Shown:
        """Return a job.

        Raises:
            NotFoundError: ``JOB_NOT_FOUND``.
        """
        ...

    async def jobs(self, namespace: Namespace) -> list[Shown]:
        """Return the jobs of a namespace, oldest first."""
        ...

    async def snapshot(self, namespace: Namespace, sha: str) -> Shown:
        """Return a snapshot.

        Raises:
            NotFoundError: ``SNAPSHOT_NOT_FOUND``.
            InvalidRequestError: ``SHA_INVALID``.
        """
        ...

    async def history(self, namespace: Namespace, limit: int, before_ms: int | None) -> list[Shown]:
        """Return snapshots without what they say, newest first."""
        ...

    async def activity(
        self, limit: int, *, namespace: Namespace | None, since_ms: int | None, cursor: str
    ) -> SnapshotsPage:
        """Return snapshots of all namespaces, or of one."""
        ...

    async def difference(self, namespace: Namespace, old: str, new: str) -> Shown:
        """Compare two snapshots, each named by its SHA-256 or by a checkpoint.

        Raises:
            NotFoundError: ``SNAPSHOT_NOT_FOUND``, ``CHECKPOINT_NOT_FOUND``.
            InvalidRequestError: ``LABEL_INVALID``.
        """
        ...

    async def policy(self, namespace: Namespace) -> Shown:
        """Return a policy.

        Raises:
            NotFoundError: ``POLICY_NOT_FOUND``.
        """
        ...

    async def set_policy(self, namespace: Namespace, policy: SnapshotPolicy) -> Shown:
        """Set a policy.

        Raises:
            InvalidRequestError: ``POLICY_INVALID``.
        """
        ...

    async def create_checkpoint(self, namespace: Namespace, label: str) -> Shown:
        """Name the latest snapshot.

        Raises:
            NotFoundError: ``SNAPSHOT_NOT_FOUND``.
            AlreadyExistsError: ``CHECKPOINT_EXISTS``.
            InvalidRequestError: ``LABEL_INVALID``.
        """
        ...

    async def checkpoint(self, namespace: Namespace, label: str) -> Shown:
        """Return a checkpoint.

        Raises:
            NotFoundError: ``CHECKPOINT_NOT_FOUND``.
        """
        ...

    async def checkpoints(self, namespace: Namespace, limit: int, before: str) -> SnapshotsPage:
        """Return checkpoints, newest snapshots first."""
        ...

    async def purge(self, namespace: Namespace) -> int:
        """Delete what was counted of a namespace; return how many objects went."""
        ...


class WatermarkReports(Protocol):
    """Takes watermarks on their way to the snapshots service."""

    def advanced(self, namespace: Namespace, watermark_ms: int, authorization: bytes) -> None:
        """Take a watermark, found with a key that may be empty. Neither waits nor raises."""
        ...


class FacetNamespaces(Protocol):
    """Tells which namespaces have facet fields."""

    def namespaces(self) -> AsyncIterator[Namespace]:
        """Yield each of them.

        Raises:
            LayerError: When the service is away.
        """
        ...
