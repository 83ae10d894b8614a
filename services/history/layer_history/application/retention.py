"""Retention: what has expired or was purged goes, and days that are over are compacted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import structlog

from layer_history.application.catalogue import Catalogue
from layer_history.application.compaction import Compaction
from layer_history.application.policies import Policies
from layer_history.domain.events import Kind
from layer_history.domain.names import (
    SegmentName,
    Stream,
    day_of,
    day_of_key,
    namespace_of_folder,
    parse_key,
)
from layer_history.ports import Mirror
from layer_kit.names import Namespace
from layer_objects import ObjectStore

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Keeps policies to their word."""

    objects: ObjectStore
    catalogue: Catalogue
    compaction: Compaction
    policies: Policies
    mirror: Mirror
    now_ns: Callable[[], int]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held for a stream, so that whoever purges it also counts what goes."""

    async def keep_up(self) -> int:
        """Go once over everything there is; return how many objects went.

        Raises:
            UpstreamError: The object store's own; the next time begins anew.
        """
        gone_count = 0
        for kind in Kind:
            async for stream in self._streams(kind):
                async with self._turn:
                    gone_count += await self._tidy(stream)
        return gone_count

    async def purge(self, namespace: Namespace) -> int:
        """Delete every event of a namespace so far; return how many objects went.

        Raises:
            UpstreamError: The object store's own; nothing that was purged is read all the same.
        """
        gone_count = 0
        async with self._turn:
            await self.policies.purge(namespace, self.now_ns())
            await self.mirror.drop(namespace)
            for kind in Kind:
                stream = Stream(kind, namespace)
                gone_count += await self.objects.delete_prefix(f"{stream.folder}/")
                self.catalogue.forget(stream)
        return gone_count

    async def _tidy(self, stream: Stream) -> int:
        gone_count = await self._expire(stream)
        if gone_count:
            log.info("events_expired", stream=stream.folder, object_count=gone_count)
            self.catalogue.forget(stream)
        if (last := await self.catalogue.last_day(stream)) is not None:
            gone_count += await self._compact_before(stream, last)
        return gone_count

    async def _expire(self, stream: Stream) -> int:
        """Delete what ends before the first moment that is still to be read.

        Keys come in the order of their days, so this ends where that moment is.
        """
        policy = self.policies.get(stream.namespace)
        oldest_ns = policy.oldest_ns(stream.kind, self.now_ns())
        if oldest_ns <= 1:
            return 0
        gone_count = 0
        async for key in self.objects.iter_keys(f"{stream.folder}/"):
            day = day_of_key(stream, key)
            if day is not None and day > day_of(oldest_ns):
                break
            name = parse_key(stream, key)
            if name is not None and name.last_ns < oldest_ns:
                await self.objects.delete(name.key)
                await self._delete_index(name)
                gone_count += 1
        return gone_count

    async def _delete_index(self, name: SegmentName) -> None:
        if name.origin:
            await self.objects.delete(name.index_key)

    async def _compact_before(self, stream: Stream, last: int) -> int:
        """Compact the days that are over, newest first, until one had nothing to compact."""
        day: int | None = last
        merged_count = 0
        while day is not None:
            merged = await self.compaction.compact(stream, day)
            if not merged and day < day_of(self.now_ns()) - 1:
                break
            merged_count += merged
            day = await self.catalogue.day_before(stream, day)
        return merged_count

    async def _streams(self, kind: Kind) -> AsyncIterator[Stream]:
        """Yield every stream that has objects, by one listing of a single key each."""
        after = ""
        while True:
            page = await self.objects.list(f"{kind.value}/", after=after, limit=1)
            if not page.objects:
                return
            name = namespace_of_folder(kind, page.objects[0].key)
            stream = Stream(kind, Namespace(name))
            yield stream
            after = f"{stream.folder}0"  # "0" follows "/": past everything in the folder
