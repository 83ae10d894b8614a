"""The latest snapshot of a namespace, copied from the object store into the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from layer_gateway.ports.warmth import RecordCache, RecordKind
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore

LATEST: Final = b"latest"


class _Body(msgspec.Struct):
    """The part of a snapshot that tells which it is."""

    watermark_ms: int
    sha: str


_BODY: Final[msgspec.json.Decoder[_Body]] = msgspec.json.Decoder(_Body)


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredSnapshot:
    """Which snapshot the cache holds now."""

    key: str
    watermark_ms: int
    sha: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorSnapshot:
    """Copies the latest snapshot: that of the last key, of those that no job has made."""

    objects: ObjectStore | None
    records: RecordCache

    async def __call__(self, namespace: Namespace) -> MirroredSnapshot | None:
        """Copy it; None where there is none.

        Raises:
            UpstreamError: ``SNAPSHOT_UNREADABLE``, or the object store's own.
            UnavailableError, DeadlineError: The cache's.
        """
        if self.objects is None:
            return None
        partial = {
            key.rpartition("/")[2]
            async for key in self.objects.iter_keys(f"snapshot-partials/{namespace}/")
        }
        latest = None
        async for key in self.objects.iter_keys(f"snapshots/{namespace}/"):
            if key.rpartition("/")[2] not in partial:
                latest = key
        found = None if latest is None else await self.objects.get(latest)
        if latest is None or found is None:
            return None
        try:
            body = _BODY.decode(found.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamError(
                "SNAPSHOT_UNREADABLE",
                f"The snapshot {latest} is not readable: {error}.",
                key=latest,
            ) from error
        await self.records.put(RecordKind.SNAPSHOT, namespace, LATEST, found.body)
        return MirroredSnapshot(key=latest, watermark_ms=body.watermark_ms, sha=body.sha)
