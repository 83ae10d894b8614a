"""Snapshots by name: read once, since what a key holds never changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from layer_kit.bounded_cache import BoundedCache
from layer_kit.errors import NotFoundError, PreconditionError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_snapshots.application.catalogue import Catalogue
from layer_snapshots.domain.content import Body, Snapshot, read_body, write_body
from layer_snapshots.domain.keys import SnapshotName, name_of, partial_key, snapshot_key

BODY_WEIGHT: Final = 8
"""Memory of a decoded snapshot, in multiples of its text."""


@dataclass(slots=True, kw_only=True)
class Bodies:
    """Reads and writes snapshots.

    Args:
        cache_bytes: Memory for those that were read.
    """

    objects: ObjectStore
    catalogue: Catalogue
    cache_bytes: int
    _cache: BoundedCache[tuple[Namespace, SnapshotName], Snapshot] = field(init=False)

    def __post_init__(self) -> None:
        self._cache = BoundedCache(self.cache_bytes)

    async def get(self, namespace: Namespace, name: SnapshotName) -> Snapshot | None:
        """Return a snapshot; None where there is none of this name.

        Raises:
            UpstreamError: ``SNAPSHOT_UNREADABLE``, or the object store's own.
        """
        known = self._cache.get((namespace, name))
        if known is not None:
            return known
        found = await self.objects.get(snapshot_key(namespace, name))
        if found is None:
            return None
        snapshot = read_body(found.body)
        self._keep(namespace, name, snapshot)
        return snapshot

    async def by_sha(self, namespace: Namespace, sha: str) -> Snapshot:
        """Return the newest snapshot of a SHA-256, or of one that begins so.

        Raises:
            NotFoundError: ``SNAPSHOT_NOT_FOUND``.
            UpstreamError: As for :meth:`get`.
        """
        async for name in self.catalogue.find(namespace, sha):
            snapshot = await self.get(namespace, name)
            if snapshot is not None and snapshot.body.sha.startswith(sha):
                return snapshot
        raise NotFoundError(
            "SNAPSHOT_NOT_FOUND",
            f"Namespace {namespace} has no snapshot {sha}.",
            namespace=namespace,
            sha=sha,
        )

    async def put(self, body: Body) -> tuple[Snapshot, bool]:
        """Write a snapshot unless it is there; return it, and whether it was not."""
        namespace, name = Namespace(body.namespace), name_of(body.watermark_ms, body.sha)
        text = write_body(body)
        try:
            await self.objects.put(
                snapshot_key(namespace, name),
                text,
                content_type="application/json",
                if_absent=True,
            )
            is_new = True
        except PreconditionError:
            is_new = False
        snapshot = Snapshot(body, len(text))
        self._keep(namespace, name, snapshot)
        return snapshot, is_new

    async def put_partial(self, body: Body) -> None:
        """Write a snapshot that is not one of all facet fields, and mark it so beforehand."""
        namespace, name = Namespace(body.namespace), name_of(body.watermark_ms, body.sha)
        mark = partial_key(namespace, name)
        try:
            await self.objects.put(mark, b"{}", content_type="application/json", if_absent=True)
            is_mark_new = True
        except PreconditionError:
            is_mark_new = False
        _, is_new = await self.put(body)
        if is_mark_new and not is_new:  # it is the very same as one of all facet fields
            await self.objects.delete(mark)

    async def delete(self, namespace: Namespace, name: SnapshotName) -> None:
        await self.objects.delete(snapshot_key(namespace, name))
        await self.objects.delete(partial_key(namespace, name))
        self._cache.discard(lambda key: key == (namespace, name))

    async def is_partial(self, namespace: Namespace, name: SnapshotName) -> bool:
        return await self.objects.head(partial_key(namespace, name)) is not None

    async def unmark(self, namespace: Namespace, name: SnapshotName) -> None:
        """Make a snapshot count as one of all facet fields."""
        await self.objects.delete(partial_key(namespace, name))

    def forget(self, namespace: Namespace) -> None:
        self._cache.discard(lambda key: key[0] == namespace)

    def _keep(self, namespace: Namespace, name: SnapshotName, snapshot: Snapshot) -> None:
        self._cache.put((namespace, name), snapshot, weight=snapshot.size_bytes * BODY_WEIGHT)
