"""Replicas of the history see each other's latest events through the cache.

None of them writes to the object store meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_history.adapters.cache_mirror import RECORD_BYTES_MAX, TOLD_BYTES_MAX, CacheMirror
from layer_history.domain.events import Event, Kind, to_event
from layer_history.domain.names import Stream
from layer_history.metrics import HistoryMetrics
from layer_history_testing.client import MOMENT_NS, HistoryClient, click, query, running_history
from layer_history_testing.parts import search
from layer_kit.names import Namespace
from layer_kit.rpc.client import open_channel
from layer_testing.edge_calls import eventually
from layer_testing.processes import ServiceProcess, running

WINDOW_S = 20

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cache(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServiceProcess]:
    async with running_cache(tmp_path_factory.mktemp("cache"), "127.0.0.1:0") as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def records(cache: ServiceProcess) -> AsyncIterator[Any]:
    async with open_channel(cache.addresses["grpc"], retries=False) as channel:
        yield cache_pb2_grpc.RecordServiceStub(channel)


@pytest.fixture
def stream() -> Stream:
    """Return a stream that no other test uses."""
    return Stream(Kind.QUERY, Namespace(f"test-{secrets.token_hex(6)}"))


@pytest.fixture
def replica(records: Any) -> Any:
    """Return what makes a replica's end of the mirror, with clocks that the test moves."""

    def make(name: str, stub: Any = records) -> Replica:
        return Replica(name, stub)

    return make


def running_cache(folder: Path, address: str) -> AbstractAsyncContextManager[ServiceProcess]:
    return running(
        "layer_cache",
        LAYER_CACHE_GRPC_ADDRESS=address,
        LAYER_CACHE_DATA_DIRECTORY=str(folder / "cache"),
    )


@dataclass
class Replica:
    name: str
    stub: Any
    now_s: int = MOMENT_NS // 10**9
    ticks_s: float = 0.0
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.stubs = {"one": self.stub, "another": self.stub}
        self.mirror = CacheMirror(
            self.stubs,
            HistoryMetrics(self.registry),
            replica=self.name,
            window_s=WINDOW_S,
            now_ns=lambda: self.now_s * 10**9,
            clock=lambda: self.ticks_s,
        )

    async def step(self, seconds: int = 0) -> None:
        """Take a turn some seconds later."""
        self.now_s += seconds
        self.ticks_s += seconds
        await self.mirror.step()

    async def sees(self, stream: Stream, newest_ns: int = 2**63 - 1) -> list[int]:
        events = await self.mirror.recent(stream, newest_ns=newest_ns)
        return sorted(event.time_ns for event in events)

    def counted(self, what: str, result: str) -> float:
        name = f"layer_history_mirror_{what}_total"
        return self.registry.get_sample_value(name, {"result": result}) or 0.0


def events(stream: Stream, *moments: int, text: str = "x") -> list[Event]:
    values = [search(moment, text=text) for moment in moments]
    for value in values:
        value.namespace = stream.namespace
    return [to_event(value) for value in values]


async def test_replicas_see_what_the_others_told_and_not_their_own(
    replica: Callable[..., Replica], stream: Stream
) -> None:
    a, b = replica("aaaaaaaa"), replica("bbbbbbbb")
    a.mirror.tell(stream, events(stream, 1, 2))
    b.mirror.tell(stream, events(stream, 3))
    for _ in range(2):
        await a.step(5)
        await b.step(5)
    a.mirror.tell(stream, events(stream, 4))
    await a.step(1)
    assert (await a.sees(stream), await b.sees(stream)) == ([3], [1, 2, 4])
    assert await b.sees(stream) == [1, 2, 4]
    assert await b.sees(stream._replace(kind=Kind.CLICK)) == []
    assert (a.counted("events", "stored"), a.counted("events", "dropped")) == (3, 0)


async def test_a_replica_that_is_alone_asks_nobody(
    replica: Callable[..., Replica], stream: Stream, records: Any
) -> None:
    request = cache_pb2.DropRecordsRequest(
        kind=cache_pb2.RECORD_KIND_SEARCH_HISTORY, scope="/replicas"
    )
    await records.DropRecords(request)
    alone = replica("cccccccc")
    await alone.step(5)
    assert await alone.sees(stream) == []
    assert alone.counted("reads", "answered") == 0


async def test_only_what_may_not_be_an_object_yet_is_asked_for(
    replica: Callable[..., Replica], stream: Stream
) -> None:
    a, b = replica("aaaaaaaa"), replica("bbbbbbbb")
    a.mirror.tell(stream, events(stream, 1))
    await a.step(1)
    await b.step(1)
    assert await b.sees(stream) == [1]
    await b.step(WINDOW_S + 1)
    assert await b.sees(stream) == []
    reads = b.counted("reads", "answered")
    assert await b.sees(stream, newest_ns=(b.now_s - WINDOW_S - 1) * 10**9) == []
    assert b.counted("reads", "answered") == reads


async def test_a_clock_that_goes_back_replaces_nothing(
    replica: Callable[..., Replica], stream: Stream
) -> None:
    a, b = replica("aaaaaaaa"), replica("bbbbbbbb")
    for moment, seconds in ((1, 1), (2, 0), (3, -1)):
        a.mirror.tell(stream, events(stream, moment))
        await a.step(seconds)
    await b.step()
    assert await b.sees(stream) == [1, 2, 3]
    a.now_s -= 3600
    b.now_s -= 3600
    a.mirror.tell(stream, events(stream, 4))
    await a.step()
    assert await b.sees(stream) == [4]


async def test_of_too_much_the_latest_is_shown_and_the_rest_counted(
    replica: Callable[..., Replica], stream: Stream
) -> None:
    a, b = replica("aaaaaaaa"), replica("bbbbbbbb")
    many = events(stream, *range(1, 2001), text="x" * 1000)
    kept = RECORD_BYTES_MAX // (len(many[-1].line) + 1)
    a.mirror.tell(stream, many)
    a.mirror.tell(stream, events(stream, *range(2001, 2003), text="x" * (TOLD_BYTES_MAX // 2)))
    await a.step(1)
    await b.step(1)
    seen = await b.sees(stream)
    assert seen == list(range(2001 - len(seen), 2001))
    assert kept - 2 <= len(seen) <= kept
    assert a.counted("events", "dropped") == 2002 - len(seen)


async def test_a_namespace_that_is_dropped_is_seen_no_more(
    replica: Callable[..., Replica], stream: Stream
) -> None:
    a, b = replica("aaaaaaaa"), replica("bbbbbbbb")
    a.mirror.tell(stream, events(stream, 1))
    await a.step(1)
    await b.step(1)
    assert await b.sees(stream) == [1]
    await b.mirror.drop(stream.namespace)
    assert await b.sees(stream) == []


@pytest.mark.parametrize(
    "value", [b"", b"\xff{", b'{"timestamp_nanos":5,"namespace":"elsewhere"}'], ids=repr
)
async def test_what_is_no_event_of_the_stream_is_passed_by(
    replica: Callable[..., Replica], stream: Stream, records: Any, value: bytes
) -> None:
    a, b = replica("aaaaaaaa"), replica("bbbbbbbb")
    for one in (a, b):
        await one.step(5)
    request = cache_pb2.PutRecordsRequest(
        kind=cache_pb2.RECORD_KIND_SEARCH_HISTORY,
        scope=stream.namespace,
        keys=[b"aaaaaaaa" + b.now_s.to_bytes(8, "big")],
        values=[value + b"\n" + events(stream, 1)[0].line],
    )
    await records.PutRecords(request)
    assert await b.sees(stream) == [1]


async def test_a_cache_that_is_away_costs_the_mirror_alone(
    replica: Callable[..., Replica], stream: Stream, records: Any
) -> None:
    async with open_channel("127.0.0.1:1", retries=False) as nowhere:
        away = cache_pb2_grpc.RecordServiceStub(nowhere)
        a, b = replica("aaaaaaaa"), replica("bbbbbbbb")
        for one in (a, b):
            await one.step(5)
            one.stubs.update(one=away, another=away)
        a.mirror.tell(stream, events(stream, 1))
        await a.step(5)
        for _ in range(2):
            assert await b.sees(stream) == []
        await b.mirror.drop(stream.namespace)
    assert (a.counted("events", "dropped"), b.counted("reads", "failed")) == (1, 1)
    for one in (a, b):
        one.stubs.update(one=records, another=records)
    a.mirror.tell(stream, events(stream, 2))
    await a.step(5)
    await b.step(10)
    assert await b.sees(stream) == [2]


async def test_lists_show_events_of_other_replicas_also_once_these_are_gone(
    cache: ServiceProcess, tmp_path: Path
) -> None:
    def start(name: str) -> AbstractAsyncContextManager[tuple[HistoryClient, ServiceProcess]]:
        return running_history(
            tmp_path / name,
            tmp_path / "store",
            LAYER_HISTORY_CACHE_ADDRESS=cache.addresses["grpc"],
        )

    async with start("a") as (a, process), start("b") as (b, _):
        await a.append(query(MOMENT_NS + 2, trace_id="a" * 32), click(trace_id="a" * 32))
        await b.append(query(MOMENT_NS + 1))

        async def both_are_seen() -> bool:
            return await b.queries() == [MOMENT_NS + 2, MOMENT_NS + 1]

        await eventually(both_are_seen)
        await process.kill()
        assert await both_are_seen()
        assert len((await b.trace("a" * 32)).clicks) == 1
        await b.delete()
        assert await b.queries() == []
