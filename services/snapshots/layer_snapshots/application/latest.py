"""The latest snapshot of each namespace that was taken of all facet fields.

What is in memory is answered with at once. After a second it is looked up anew behind the answer,
after a few the answer waits for that: another replica may have taken a newer one meanwhile. While
the object store is away, memory and the mirror in the cache go on answering.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from layer_kit.bounded_cache import BoundedCache
from layer_kit.clock import Monotonic
from layer_kit.errors import LayerError, NotFoundError, UpstreamError
from layer_kit.names import Namespace
from layer_snapshots.application.bodies import BODY_WEIGHT, Bodies
from layer_snapshots.application.catalogue import Catalogue
from layer_snapshots.application.policies import Policies
from layer_snapshots.application.states import States
from layer_snapshots.domain.content import Snapshot, read_body, write_body
from layer_snapshots.domain.keys import SnapshotName
from layer_snapshots.ports import Mirror

log = structlog.get_logger(__name__)

FRESH_S: Final = 1.0
STALE_S_MAX: Final = 2.0
ENTRY_WEIGHT: Final = 256
LOOKED_AT_MAX: Final = 20
"""Snapshots that are read to find one of all facet fields."""


@dataclass(frozen=True, slots=True)
class _Known:
    snapshot: Snapshot | None
    looked_up_s: float


@dataclass(slots=True, kw_only=True)
class Latest:
    """Answers with the latest snapshots.

    Args:
        cache_bytes: Memory for them.
    """

    bodies: Bodies
    catalogue: Catalogue
    states: States
    policies: Policies
    mirror: Mirror
    monotonic: Monotonic
    cache_bytes: int
    _known: BoundedCache[Namespace, _Known] = field(init=False)
    _lookups: dict[Namespace, asyncio.Task[Snapshot | None]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._known = BoundedCache(self.cache_bytes)

    async def get(self, namespace: Namespace) -> Snapshot:
        """Return the latest snapshot, as of the last seconds.

        Raises:
            NotFoundError: ``SNAPSHOT_NOT_FOUND``.
            UpstreamError: The object store's own, when nothing is known.
        """
        return _there(namespace, await self.find(namespace))

    async def current(self, namespace: Namespace) -> Snapshot:
        """Return the latest of which anybody can know, since its key is there; errors as above."""
        return _there(namespace, await self._newest(namespace))

    async def find(self, namespace: Namespace) -> Snapshot | None:
        """Return the latest snapshot; None where there is none; errors as for :meth:`get`."""
        known = self._known.get(namespace)
        if known is None:
            return await self._first(namespace)
        age_s = self.monotonic() - known.looked_up_s
        if age_s > FRESH_S:
            lookup = self._look_up(namespace)
            if age_s > STALE_S_MAX:
                return await self._patiently(lookup, known)
        return known.snapshot

    async def taken(self, namespace: Namespace, snapshot: Snapshot) -> None:
        """Take note of a snapshot that was just taken, or found to be as it was."""
        self._remember(namespace, snapshot)
        await self.mirror.put(namespace, write_body(snapshot.body))

    async def forget(self, namespace: Namespace) -> None:
        """Know that a namespace has no snapshot any more."""
        self._remember(namespace, None)
        await self.mirror.drop(namespace)

    async def aclose(self) -> None:
        """Give up what is being looked up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _first(self, namespace: Namespace) -> Snapshot | None:
        """Return what the mirror holds, and look behind it; without one, look first."""
        lookup = self._look_up(namespace)
        mirrored = await self._mirrored(namespace)
        if mirrored is None:
            return await asyncio.shield(lookup)
        known = self._known.get(namespace)
        return known.snapshot if known is not None else mirrored

    async def _patiently(
        self, lookup: asyncio.Task[Snapshot | None], known: _Known
    ) -> Snapshot | None:
        try:
            return await asyncio.shield(lookup)
        except LayerError:
            if known.snapshot is None:
                raise
            return known.snapshot

    def _look_up(self, namespace: Namespace) -> asyncio.Task[Snapshot | None]:
        """Start looking, or join whoever does."""
        lookup = self._lookups.get(namespace)
        if lookup is None:
            lookup = self._lookups[namespace] = self._go(self._look(namespace))
            lookup.add_done_callback(lambda _: self._lookups.pop(namespace, None))
        return lookup

    async def _look(self, namespace: Namespace) -> Snapshot | None:
        before = self._known.get(namespace)
        try:
            snapshot = await self._stored(namespace)
        except LayerError as error:
            log.warning("latest_not_looked_up", namespace=namespace, reason=error.reason)
            raise
        if self._known.get(namespace) is before:  # nothing was taken or purged meanwhile
            self._remember(namespace, snapshot)
            is_news = before is None or before.snapshot is not snapshot
            if snapshot is not None and is_news:
                await self.mirror.put(namespace, write_body(snapshot.body))
        return snapshot

    async def _stored(self, namespace: Namespace) -> Snapshot | None:
        name = (await self.states.read(namespace)).state.latest
        if name is not None and (found := await self.bodies.get(namespace, name)) is not None:
            return found
        return await self._newest(namespace)

    async def _newest(self, namespace: Namespace) -> Snapshot | None:
        """Find the latest by its key, where no state tells: another system may have written it.

        That one does not mark what it has taken of a single field, so the facet fields decide.
        """
        policy = self.policies.get(namespace)
        fields = set() if policy is None else set(policy.facetFields)
        newest: Snapshot | None = None
        looked_at = 0
        async for name in self.catalogue.descending(namespace):
            if await self.bodies.is_partial(namespace, name):
                continue
            found = await self._readable(namespace, name)
            if found is not None and fields <= found.field_names:
                return found
            newest, looked_at = newest or found, looked_at + 1
            if looked_at >= LOOKED_AT_MAX:
                break
        return newest

    async def _readable(self, namespace: Namespace, name: SnapshotName) -> Snapshot | None:
        try:
            return await self.bodies.get(namespace, name)
        except UpstreamError as error:
            if error.reason != "SNAPSHOT_UNREADABLE":
                raise
            log.warning("snapshot_unreadable", namespace=namespace, file=name.file)
            return None

    async def _mirrored(self, namespace: Namespace) -> Snapshot | None:
        text = await self.mirror.get(namespace)
        if text is None:
            return None
        try:
            snapshot = read_body(text)
        except UpstreamError:
            return None
        return snapshot if snapshot.body.namespace == namespace else None

    def _remember(self, namespace: Namespace, snapshot: Snapshot | None) -> None:
        size_bytes = 0 if snapshot is None else snapshot.size_bytes * BODY_WEIGHT
        known = _Known(snapshot, self.monotonic())
        self._known.put(namespace, known, weight=ENTRY_WEIGHT + size_bytes)

    def _go(self, work: Coroutine[Any, Any, Snapshot | None]) -> asyncio.Task[Snapshot | None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def done(ended: asyncio.Task[Snapshot | None]) -> None:
            self._tasks.discard(ended)
            if not ended.cancelled():
                ended.exception()  # whoever waited has it; nobody need have

        task.add_done_callback(done)
        return task


def _there(namespace: Namespace, snapshot: Snapshot | None) -> Snapshot:
    if snapshot is None:
        raise NotFoundError(
            "SNAPSHOT_NOT_FOUND",
            f"Namespace {namespace} has no snapshot yet.",
            namespace=namespace,
        )
    return snapshot
