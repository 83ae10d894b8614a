"""The mirror of recent events in the cache, by which replicas see each other's at once.

Every second each replica puts the lines that it has made durable since into the cache: a record for
each stream, whose key is the replica's name and that second. A reader asks for the seconds of the
other replicas that may not be in the object store yet. Whose seconds there are is told by records
that each replica renews, so that one that is alone asks nobody.

All of this is best effort: what does not fit, or finds the cache away, is left out and counted.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import grpc.aio
import structlog

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_history.domain.events import NANOSECONDS_PER_SECOND, Event, Kind, parse_line
from layer_history.domain.names import Stream
from layer_history.metrics import HistoryMetrics
from layer_kit.bounded_cache import BoundedCache
from layer_kit.clock import Monotonic
from layer_kit.errors import LayerError
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke
from layer_kit.rpc.errors import from_rpc_error

log = structlog.get_logger(__name__)

REPLICAS_SCOPE: Final = "/replicas"
"""Where the records of the replicas are; no namespace has a slash."""

REPLICAS_INTERVAL_S: Final = 3.0
REPLICA_TTL_S: Final = 60
REPLICAS_MAX: Final = 16
CLOCKS_DIFFER_S: Final = 3
"""How far the clock of another replica may be ahead, before its latest events are seen late."""

RECORD_BYTES_MAX: Final = 1024 * 1024
TOLD_BYTES_MAX: Final = 16 * 1024 * 1024
PUTS_AT_ONCE_MAX: Final = 8
KEYS_PER_CALL_MAX: Final = 1_000
CACHE_BYTES: Final = 16 * 1024 * 1024
EVENT_OVERHEAD_BYTES: Final = 250
PUT_S_MAX: Final = 5.0
READ_S_MAX: Final = 0.2
PAUSE_S: Final = 2.0
"""How long reads go on without a cache that did not answer one."""

_KINDS: Final = {
    Kind.QUERY: cache_pb2.RECORD_KIND_SEARCH_HISTORY,
    Kind.CLICK: cache_pb2.RECORD_KIND_CLICKSTREAM,
}


class CacheMirror:
    """Implements ``Mirror``, for as long as someone repeats :meth:`step`.

    Args:
        stubs: The replicas of the cache by their addresses, the same ones for all of the history.
        replica: Name of this replica of the history.
        window_s: How old events may be that are not in the object store yet.
    """

    def __init__(
        self,
        stubs: Mapping[str, cache_pb2_grpc.RecordServiceStub],
        metrics: HistoryMetrics,
        *,
        replica: str,
        window_s: int,
        now_ns: Callable[[], int],
        clock: Monotonic,
    ) -> None:
        self._stubs = stubs
        self._metrics = metrics
        self._replica = replica
        self._window_s = window_s
        self._now_ns = now_ns
        self._clock = clock
        self._told: dict[Stream, list[Event]] = {}
        self._told_bytes = 0
        self._second = self._now_s()
        """That of the last put. None is used twice, which would replace the first one's lines."""
        self._others: list[str] = []
        self._look_around_at_s = 0.0
        self._read_again_at_s = 0.0
        self._seconds: BoundedCache[tuple[Stream, str, int], list[Event]] = BoundedCache(
            CACHE_BYTES
        )

    def tell(self, stream: Stream, events: Sequence[Event]) -> None:
        size_bytes = sum(len(event.line) for event in events)
        if self._told_bytes + size_bytes > TOLD_BYTES_MAX:
            self._metrics.count_mirrored("dropped", len(events))
            return
        self._told.setdefault(stream, []).extend(events)
        self._told_bytes += size_bytes

    async def recent(self, stream: Stream, *, newest_ns: int) -> list[Event]:
        now_s = self._now_s()
        first_s = now_s - self._window_s
        is_of_use = newest_ns >= first_s * NANOSECONDS_PER_SECOND
        if not self._others or not is_of_use or self._clock() < self._read_again_at_s:
            return []
        events: list[Event] = []
        missing: list[tuple[str, int]] = []
        for second in range(now_s + CLOCKS_DIFFER_S, first_s, -1):
            for other in self._others:
                known = self._seconds.get((stream, other, second))
                if known is None:
                    missing.append((other, second))
                else:
                    events += known
        return events + await self._read(stream, missing[:KEYS_PER_CALL_MAX])

    async def drop(self, namespace: Namespace) -> None:
        self._seconds.discard(lambda key: key[0].namespace == namespace)
        for kind in Kind:
            self._told.pop(Stream(kind, namespace), None)
            request = cache_pb2.DropRecordsRequest(kind=_KINDS[kind], scope=namespace)
            try:
                await invoke(self._stub_of(namespace).DropRecords, request, timeout_s=PUT_S_MAX)
            except LayerError as error:  # what is left expires, and is not read
                log.warning("mirror_not_dropped", namespace=namespace, reason=error.reason)

    async def step(self) -> None:
        """Put what was told since the last time, and look at times who else is there."""
        if self._clock() >= self._look_around_at_s:
            self._look_around_at_s = self._clock() + REPLICAS_INTERVAL_S
            await self._look_around()
        told, self._told, self._told_bytes = self._told, {}, 0
        if not told:
            return
        now_s = self._now_s()
        self._second = max(self._second + 1, now_s)
        if self._second > now_s + CLOCKS_DIFFER_S:  # the clock was put back: nobody looks there
            self._second = now_s
        turns = asyncio.Semaphore(PUTS_AT_ONCE_MAX)
        await asyncio.gather(*(self._put(one, events, turns) for one, events in told.items()))

    async def _put(self, stream: Stream, events: Sequence[Event], turns: asyncio.Semaphore) -> None:
        value, count = _newest_lines(events)
        request = cache_pb2.PutRecordsRequest(
            kind=_KINDS[stream.kind],
            scope=stream.namespace,
            keys=[_key(self._replica, self._second)],
            values=[value],
            ttl_ms=self._ttl_ms,
        )
        async with turns:
            try:
                stub = self._stub_of(stream.namespace)
                answer = await invoke(stub.PutRecords, request, timeout_s=PUT_S_MAX)
            except LayerError as error:
                log.debug("mirror_away", reason=error.reason)
                count = 0
            else:
                count *= answer.stored_count
        self._metrics.count_mirrored("stored", count)
        self._metrics.count_mirrored("dropped", len(events) - count)

    async def _read(self, stream: Stream, places: Sequence[tuple[str, int]]) -> list[Event]:
        request = cache_pb2.GetRecordsRequest(
            kind=_KINDS[stream.kind],
            scope=stream.namespace,
            keys=[_key(other, second) for other, second in places],
        )
        try:
            stub = self._stub_of(stream.namespace)
            answer = await invoke(stub.GetRecords, request, timeout_s=READ_S_MAX)
        except LayerError as error:
            log.debug("mirror_away", reason=error.reason)
            self._metrics.count_mirror_read("failed")
            self._read_again_at_s = self._clock() + PAUSE_S
            return []
        self._metrics.count_mirror_read("answered")
        found: list[Event] = []
        for position, value in zip(answer.hit_positions, answer.values, strict=True):
            events = _events_of(stream, value)
            weight = len(value) + EVENT_OVERHEAD_BYTES * len(events)
            self._seconds.put((stream, *places[position]), events, weight=weight)
            found += events
        return found

    async def _look_around(self) -> None:
        """Tell the others that this replica is there, and see which others are."""
        stub = self._stub_of(REPLICAS_SCOPE)
        kind, scope = cache_pb2.RECORD_KIND_SEARCH_HISTORY, REPLICAS_SCOPE
        own = self._replica.encode()
        request = cache_pb2.PutRecordsRequest(
            kind=kind, scope=scope, keys=[own], values=[b"1"], ttl_ms=self._ttl_ms
        )
        wanted = cache_pb2.ScanRecordsRequest(kind=kind, scope=scope, keys_only=True)
        try:
            await invoke(stub.PutRecords, request, timeout_s=PUT_S_MAX)
            pages = [page async for page in stub.ScanRecords(wanted, timeout=PUT_S_MAX)]
        except LayerError as error:
            log.debug("mirror_away", reason=error.reason)
        except grpc.aio.AioRpcError as error:
            log.debug("mirror_away", reason=from_rpc_error(error).reason)
        else:
            others = [key for page in pages for key in page.keys if key != own]
            self._others = [key.decode(errors="replace") for key in others[:REPLICAS_MAX]]

    def _stub_of(self, scope: str) -> cache_pb2_grpc.RecordServiceStub:
        """Return the replica of the cache that has a scope's records (rendezvous hashing)."""
        return self._stubs[max(self._stubs, key=lambda address: _score(address, scope))]

    def _now_s(self) -> int:
        return self._now_ns() // NANOSECONDS_PER_SECOND

    @property
    def _ttl_ms(self) -> int:
        return (self._window_s + REPLICA_TTL_S) * 1_000


def _key(replica: str, second: int) -> bytes:
    return replica.encode() + second.to_bytes(8, "big")


def _score(address: str, scope: str) -> bytes:
    return hashlib.blake2b(f"{address}\n{scope}".encode(), digest_size=8).digest()


def _newest_lines(events: Sequence[Event]) -> tuple[bytes, int]:
    """Return the lines of the last events that fit into a record, and how many those are."""
    size_bytes, first = 0, len(events)
    while first and size_bytes + len(events[first - 1].line) < RECORD_BYTES_MAX:
        first -= 1
        size_bytes += len(events[first].line) + 1
    return b"\n".join([event.line for event in events[first:]]), len(events) - first


def _events_of(stream: Stream, value: bytes) -> list[Event]:
    found = map(parse_line, value.split(b"\n"))
    return [one[2] for one in found if one is not None and one[:2] == stream]
