"""Which snapshots there are, told by their keys alone.

Object stores list keys in ascending order, and the newest are wanted first. So a window of time is
listed, and a longer one before it while there are too few: what a page costs depends on the page,
and hardly on how many snapshots there are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from layer_kit.clock import EpochMilliseconds
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_snapshots.domain.content import SHORT_SHA_LENGTH
from layer_snapshots.domain.keys import (
    CHECKPOINTS,
    SNAPSHOTS,
    WATERMARK_MS_MAX,
    SnapshotName,
    folder,
    namespace_in,
    snapshot_name,
)

WINDOW_MS: Final = 3600 * 1000
WINDOW_GROWTH: Final = 8

LAST: Final = SnapshotName(WATERMARK_MS_MAX, "g")
"""After every name there can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Lists the snapshots of namespaces."""

    objects: ObjectStore
    now_ms: EpochMilliseconds

    async def newest(
        self,
        namespace: Namespace,
        count: int,
        *,
        before: SnapshotName = LAST,
        since_ms: int = 0,
    ) -> list[SnapshotName]:
        """Return up to ``count`` names below ``before``, the newest first."""
        found: list[SnapshotName] = []
        async for name in self.descending(namespace, before=before, since_ms=since_ms):
            found.append(name)
            if len(found) == count:
                break
        return found

    async def descending(
        self, namespace: Namespace, *, before: SnapshotName = LAST, since_ms: int = 0
    ) -> AsyncIterator[SnapshotName]:
        """Yield every name below ``before``, the newest first.

        Raises:
            UpstreamError: The object store's own, as everything here does.
        """
        oldest = await self._oldest(namespace)
        if oldest is None:
            return
        since_ms = max(since_ms, oldest.watermark_ms)
        upper, window_ms = before, WINDOW_MS
        while True:
            start_ms = min(upper.watermark_ms, self.now_ms()) - window_ms
            lower = SnapshotName(max(start_ms, since_ms), "")
            names = await self._between(namespace, lower, upper)
            for name in reversed(names):
                yield name
            if lower.watermark_ms <= since_ms:
                return
            upper, window_ms = lower, window_ms * WINDOW_GROWTH

    async def find(self, namespace: Namespace, sha: str) -> AsyncIterator[SnapshotName]:
        """Yield the names that a SHA-256, or the beginning of one, may stand for."""
        short = sha[:SHORT_SHA_LENGTH]
        async for name in self.descending(namespace):
            if name.short_sha == short:
                yield name

    async def namespaces(self) -> AsyncIterator[Namespace]:
        """Yield the namespaces that have snapshots, by one listing of a single key each."""
        position = ""
        while True:
            page = await self.objects.list(f"{SNAPSHOTS}/", after=position, limit=1)
            if not page.objects:
                return
            namespace = namespace_in(SNAPSHOTS, page.objects[0].key)
            yield namespace
            position = (
                folder(SNAPSHOTS, namespace)[:-1] + "0"
            )  # past the folder, as "0" follows "/"

    async def labels(self, namespace: Namespace) -> list[str]:
        """Return the labels of a namespace's checkpoints, by name."""
        prefix = folder(CHECKPOINTS, namespace)
        keys = [key async for key in self.objects.iter_keys(prefix)]
        return [key.removeprefix(prefix).removesuffix(".json") for key in keys]

    async def _oldest(self, namespace: Namespace) -> SnapshotName | None:
        page = await self.objects.list(folder(SNAPSHOTS, namespace), limit=1)
        names = [snapshot_name(info.key) or SnapshotName(0, "") for info in page.objects]
        return names[0] if names else None

    async def _between(
        self, namespace: Namespace, lower: SnapshotName, upper: SnapshotName
    ) -> list[SnapshotName]:
        """Return the names from ``lower`` on and below ``upper``, ascending."""
        prefix = folder(SNAPSHOTS, namespace)
        after: str | None = f"{prefix}{max(lower.watermark_ms, 0):013}"
        found: list[SnapshotName] = []
        while after is not None:
            page = await self.objects.list(prefix, after=after)
            for info in page.objects:
                name = snapshot_name(info.key)
                if name is None:
                    continue
                if name >= upper:
                    return found
                found.append(name)
            after = page.next_after
        return found
