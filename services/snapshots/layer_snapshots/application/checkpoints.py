"""Checkpoints of namespaces."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from layer_kit.bounded_cache import BoundedCache
from layer_kit.errors import AlreadyExistsError, NotFoundError, PreconditionError, UpstreamError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_snapshots.application.catalogue import Catalogue
from layer_snapshots.application.latest import Latest
from layer_snapshots.domain.checkpoints import Checkpoint
from layer_snapshots.domain.keys import checkpoint_key
from layer_snapshots.domain.limits import CHECKPOINTS_MAX, READS_AT_ONCE_MAX

_CHECKPOINT: Final[msgspec.json.Decoder[Checkpoint]] = msgspec.json.Decoder(Checkpoint)
REMEMBERED_MAX: Final = 10_000


class Checkpoints:
    """Gives snapshots names, and finds them by these."""

    def __init__(self, *, objects: ObjectStore, catalogue: Catalogue, latest: Latest) -> None:
        self._objects = objects
        self._catalogue = catalogue
        self._latest = latest
        self._known: BoundedCache[tuple[Namespace, str], Checkpoint] = BoundedCache(REMEMBERED_MAX)
        """Only those that a listing has just shown are taken from here."""

    async def create(self, namespace: Namespace, label: str) -> Checkpoint:
        """Name the latest snapshot; to name the same one again changes nothing.

        Raises:
            NotFoundError: ``SNAPSHOT_NOT_FOUND``.
            AlreadyExistsError: ``CHECKPOINT_EXISTS``.
            PreconditionError: ``TOO_MANY_CHECKPOINTS``.
            UpstreamError: The object store's own.
        """
        body = (await self._latest.current(namespace)).body
        checkpoint = Checkpoint(
            namespace=namespace,
            label=label,
            watermark_ms=body.watermark_ms,
            sha=body.sha,
            row_count=body.row_count or 0,
        )
        labels = await self._catalogue.labels(namespace)
        if label not in labels and len(labels) >= CHECKPOINTS_MAX:
            raise PreconditionError(
                "TOO_MANY_CHECKPOINTS",
                f"Namespace {namespace} has {len(labels)} checkpoints, which is the most there can "
                "be.",
                count_max=CHECKPOINTS_MAX,
            )
        try:
            await self._objects.put(
                checkpoint_key(namespace, label),
                msgspec.json.format(msgspec.json.encode(checkpoint), indent=2),
                content_type="application/json",
                if_absent=True,
            )
        except PreconditionError:
            present = await self.get(namespace, label)
            if present != checkpoint:
                raise AlreadyExistsError(
                    "CHECKPOINT_EXISTS",
                    f"The checkpoint {label} names the snapshot {present.sha} already.",
                    label=label,
                    sha=present.sha,
                ) from None
        return checkpoint

    async def get(self, namespace: Namespace, label: str) -> Checkpoint:
        """Return a checkpoint.

        Raises:
            NotFoundError: ``CHECKPOINT_NOT_FOUND``.
            UpstreamError: ``CHECKPOINT_UNREADABLE``, or the object store's own.
        """
        found = await self._read(namespace, label)
        if found is None:
            raise NotFoundError(
                "CHECKPOINT_NOT_FOUND",
                f"Namespace {namespace} has no checkpoint {label}.",
                namespace=namespace,
                label=label,
            )
        return found

    async def all(self, namespace: Namespace) -> Sequence[Checkpoint]:
        """Return every checkpoint, newest snapshots first, then by label."""
        labels = await self._catalogue.labels(namespace)
        found: list[Checkpoint | None] = []
        for start in range(0, len(labels), READS_AT_ONCE_MAX):
            some = labels[start : start + READS_AT_ONCE_MAX]
            found += await asyncio.gather(*(self._remembered(namespace, one) for one in some))
        return sorted((one for one in found if one is not None), key=order)

    def forget(self, namespace: Namespace) -> None:
        self._known.discard(lambda key: key[0] == namespace)

    async def _remembered(self, namespace: Namespace, label: str) -> Checkpoint | None:
        return self._known.get((namespace, label)) or await self._read(namespace, label)

    async def _read(self, namespace: Namespace, label: str) -> Checkpoint | None:
        found = await self._objects.get(checkpoint_key(namespace, label))
        if found is None:
            return None
        try:
            checkpoint = _CHECKPOINT.decode(found.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamError(
                "CHECKPOINT_UNREADABLE", f"The checkpoint {label} is not readable: {error}."
            ) from error
        self._known.put((namespace, label), checkpoint, weight=1)
        return checkpoint


def order(checkpoint: Checkpoint) -> tuple[int, str]:
    """Return what checkpoints are sorted by."""
    return -checkpoint.watermark_ms, checkpoint.label
