"""Answers that were given before: rendering thousands of counts takes longer than sending them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from layer.snapshots.v1 import snapshots_pb2
from layer_kit.bounded_cache import BoundedCache
from layer_snapshots.domain.content import Snapshot
from layer_snapshots.rpc.rendering import snapshot_message

MESSAGE_WEIGHT: Final = 4
"""Memory of a message, in multiples of its size on the wire."""

Key = tuple[str, int, str, tuple[str, ...], bool]


class RenderedSnapshots:
    """Renders snapshots, and remembers what it has rendered.

    Args:
        cache_bytes: Memory for that.
    """

    def __init__(self, cache_bytes: int) -> None:
        self._cache: BoundedCache[Key, snapshots_pb2.GetSnapshotResponse] = BoundedCache(
            cache_bytes
        )

    def answer(
        self, snapshot: Snapshot, names: Sequence[str], *, without_fields: bool
    ) -> snapshots_pb2.GetSnapshotResponse:
        """Return a response that is not to be changed: others may be given the same."""
        body = snapshot.body
        key = (body.namespace, body.watermark_ms, body.sha, tuple(names), without_fields)
        known = self._cache.get(key)
        if known is not None:
            return known
        message = snapshot_message(snapshot, names, without_fields=without_fields)
        response = snapshots_pb2.GetSnapshotResponse(snapshot=message)
        self._cache.put(key, response, weight=response.ByteSize() * MESSAGE_WEIGHT)
        return response
