"""History: what telling costs a query, what the service takes in, and lists among many events.

Run alone: ``python -m layer_bench.history``. Lists read a bucket behind moto's server, whose
answers take some milliseconds, as those of S3 do.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import msgspec
from isal import isal_zlib
from prometheus_client import CollectorRegistry
from rich.table import Table

from layer.history.v1 import history_pb2, history_pb2_grpc
from layer_bench.load import cpu_ns
from layer_bench.printing import show
from layer_bench.vectorstore import Figure
from layer_gateway.adapters.history_events import Rendering
from layer_gateway.adapters.history_queue import HistoryQueue
from layer_gateway.adapters.history_spool import MemorySpool
from layer_gateway.adapters.history_stream import HistoryStream
from layer_gateway.application.answers import QueryAnswer
from layer_gateway.application.history import History
from layer_gateway.domain.history import Clicked, Queried
from layer_gateway.domain.visits import read_visit
from layer_gateway.metrics import HistoryMetrics
from layer_gateway.ports.history import HistoryRecorder
from layer_history.application.shipping import put_segment
from layer_history.domain.blocks import GZIP_LEVEL, GZIP_WINDOW_BITS, Block, Segment
from layer_history.domain.events import Kind
from layer_history.domain.names import DAY_NS, PACKED_SUFFIX, SegmentName, Stream
from layer_kit.clock import monotonic
from layer_kit.names import Namespace
from layer_kit.rpc.client import open_channel
from layer_objects import ObjectStore, S3Settings, open_object_store
from layer_testing.processes import ServiceProcess, running
from layer_testing.s3 import REGION, s3_server

TOLD_COUNT: Final = 20_000
WINDOW_COUNT: Final = 50
DIMENSIONS: Final = 1536
APPENDED_COUNT: Final = 200_000
STREAMS_COUNT: Final = 2
BATCH_EVENTS: Final = 1_000
LISTS_COUNT: Final = 50
EVENTS_PER_BLOCK: Final = 600
BLOCKS_PER_SEGMENT: Final = 200
BOOKS: Final = Stream(Kind.QUERY, Namespace("books"))
CALL_S_MAX: Final = 120.0
READS: Final = re.compile(
    r'layer_s3_op_duration_seconds_count\{operation="(?:get|get_range|head|list)"[^}]*\} ([0-9.]+)'
)


def told() -> list[Figure]:
    """Measure the CPU time that one query pays, at once and later, with a vector of 1536."""
    path_ns = _telling_ns(_queue())
    gathered = _Gathered()
    _telling_ns(gathered)
    later_ns = _rendering_ns(gathered.events[0])
    return [
        Figure("telling a query, on its path", path_ns / 1000, "CPU µs", "<= 10"),
        Figure("rendering it afterwards", later_ns / 1000, "CPU µs", ""),
    ]


async def taken_in(directory: Path) -> list[Figure]:
    """Measure how many events a service takes in, durable and shipped, from two streams."""
    async with _service(
        directory / "a", LAYER_HISTORY_OBJECTS_DIRECTORY=str(directory / "b")
    ) as it:
        per_stream = APPENDED_COUNT // STREAMS_COUNT // BATCH_EVENTS
        streams = [_batches(number, per_stream) for number in range(STREAMS_COUNT)]
        cpu_before, started_s = cpu_ns((it.pid,)), time.perf_counter()
        async with open_channel(it.addresses["grpc"], retries=False) as channel:
            stub = history_pb2_grpc.HistoryServiceStub(channel)
            await asyncio.gather(*(_append(stub, batches) for batches in streams))
        seconds = time.perf_counter() - started_s
        cpu_us = (cpu_ns((it.pid,)) - cpu_before) / APPENDED_COUNT / 1000
    return [
        Figure("taken in, durable, 2 streams", APPENDED_COUNT / seconds, "events/s", ">= 20000"),
        Figure("taking in and sealing an event", cpu_us, "CPU µs", ""),
    ]


async def listed(directory: Path, events_count: int) -> list[Figure]:
    """Measure the last 50 among ``events_count``, from a start without anything in memory."""
    with s3_server() as server:
        bucket = server.new_bucket()
        s3 = S3Settings(
            endpoint=server.endpoint,
            region=REGION,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
        )
        objects = open_object_store(f"s3://{bucket}", s3=s3)
        await _fill(objects, events_count)
        await objects.aclose()
        environment = {
            "S3_BUCKET": bucket,
            "S3_ENDPOINT": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key_id or "",
            "AWS_SECRET_ACCESS_KEY": server.secret_access_key or "",
        }
        async with (
            _service(directory / "c", **environment) as it,
            open_channel(it.addresses["grpc"], retries=False) as channel,
        ):
            stub = history_pb2_grpc.HistoryServiceStub(channel)
            before = await _settled_reads(it)
            cold_ms = await _list(stub)
            reads = _reads(it) - before
            warm_ms = [await _list(stub) for _ in range(LISTS_COUNT)]
    name = f"last 50 among {events_count:,}"
    return [
        Figure(f"{name}, first time", cold_ms, "ms", "<= 500"),
        Figure(f"{name}, objects read and listed for it", reads, "", ""),
        Figure(f"{name}, again, p50", statistics.median(warm_ms), "ms", "<= 50"),
    ]


class _Gathered:
    """A recorder that only gathers."""

    is_recording: Final = True

    def __init__(self) -> None:
        self.events: list[Queried | Clicked] = []

    def record(self, event: Queried | Clicked) -> None:
        self.events.append(event)


def _queue() -> HistoryQueue:
    """Return the gateway's own queue; nobody empties it."""
    stream = HistoryStream(history_pb2_grpc.HistoryServiceStub(open_channel("127.0.0.1:1")))
    return HistoryQueue(
        stream, MemorySpool(0), HistoryMetrics(CollectorRegistry()), clock=monotonic
    )


def _telling_ns(recorder: HistoryRecorder) -> float:
    """Tell of ``TOLD_COUNT`` queries; return what one costs."""
    history = History(recorder=recorder, now_ns=time.time_ns)
    fields = {
        "vector": msgspec.Raw(msgspec.json.encode([n / 7919 for n in range(DIMENSIONS)])),
        "top_k": msgspec.Raw(b"10"),
        "filters": msgspec.Raw(b'["And",[["color","Eq","red"],["price","Lt",100]]]'),
    }
    rows = [{"id": msgspec.Raw(b'"row-%d"' % n), "$dist": msgspec.Raw(b"0.1")} for n in range(10)]
    answer, headers = QueryAnswer(rows=rows), {"x-hevlayer-tags": "web,variant=b"}
    numbers = random.Random(1)  # noqa: S311 -- as the edge does
    visit = read_visit(headers.get, epoch_s=_epoch_s, random_bits=numbers.getrandbits)
    return _least_ns(lambda: history.queried(BOOKS.namespace, fields, visit, answer, {}))


def _least_ns(call: Callable[[], object]) -> float:
    """Return the CPU time of a call in the window in which least came between."""
    least_ns = float("inf")
    for _ in range(TOLD_COUNT // WINDOW_COUNT):
        started_ns = time.process_time_ns()
        for _ in range(WINDOW_COUNT):
            call()
        least_ns = min(least_ns, (time.process_time_ns() - started_ns) / WINDOW_COUNT)
    return least_ns


def _epoch_s() -> int:
    return int(time.time())


def _rendering_ns(event: Queried | Clicked) -> float:
    rendering = Rendering(monotonic)
    return _least_ns(
        lambda: history_pb2.AppendEventsRequest(events=rendering.events(event)).SerializeToString()
    )


def _batches(number: int, batches_count: int) -> list[history_pb2.AppendEventsRequest]:
    first_ns = time.time_ns()
    return [
        history_pb2.AppendEventsRequest(
            events=[
                history_pb2.Event(
                    query=history_pb2.QueryEvent(
                        event_time_ns=first_ns + n,
                        namespace=BOOKS.namespace,
                        trace_id=f"{n:016x}{number:016x}",
                        raw_query="running shoes, red",
                        summary_json=b'{"vector_len":1536,"top_k":10,"filters":["color","Eq","red"]}',
                        top_result_ids=[f"row-{n}" for n in range(10)],
                        tags=["variant=b", "web"],
                    )
                )
                for n in range(start, start + BATCH_EVENTS)
            ]
        )
        for start in range(0, batches_count * BATCH_EVENTS, BATCH_EVENTS)
    ]


async def _append(stub: Any, batches: Sequence[history_pb2.AppendEventsRequest]) -> None:
    """Send each batch once the one before is acknowledged, as a gateway does."""
    call = stub.AppendEvents(timeout=CALL_S_MAX)
    for batch in batches:
        await call.write(batch)
        await call.read()
    await call.done_writing()


async def _fill(objects: ObjectStore, events_count: int) -> None:
    """Write full segments as compaction leaves them, over the last 30 days, without the service."""
    per_segment = EVENTS_PER_BLOCK * BLOCKS_PER_SEGMENT
    segments_count = max(1, events_count // per_segment)
    now_ns = time.time_ns()
    for number in range(segments_count):
        day = now_ns // DAY_NS - number * 30 // segments_count
        first_ns = day * DAY_NS + number * per_segment
        segment = await asyncio.to_thread(_segment, first_ns, number)
        await put_segment(objects, segment.name, segment.body, segment.blocks)


def _segment(first_ns: int, number: int) -> Segment:
    blocks, parts, offset = list[Block](), list[bytes](), 0
    for start_ns in range(
        first_ns, first_ns + EVENTS_PER_BLOCK * BLOCKS_PER_SEGMENT, EVENTS_PER_BLOCK
    ):
        packed = isal_zlib.compress(b"".join(_lines(start_ns)), GZIP_LEVEL, GZIP_WINDOW_BITS)
        last_ns = start_ns + EVENTS_PER_BLOCK - 1
        blocks.append(
            Block(start_ns, last_ns, offset, len(packed), EVENTS_PER_BLOCK, b"\xff", ("web",))
        )
        parts.append(packed)
        offset += len(packed)
    name = SegmentName(
        stream=BOOKS,
        first_ns=first_ns,
        last_ns=blocks[-1].last_ns,
        origin=f"bench{number}",
        suffix=PACKED_SUFFIX,
    )
    return Segment(name=name, body=b"".join(parts), blocks=blocks)


def _lines(start_ns: int) -> Iterator[bytes]:
    for n in range(start_ns, start_ns + EVENTS_PER_BLOCK):
        yield (
            b'{"timestamp":"","timestamp_nanos":%d,"namespace":"books","trace_id":"%032x",'
            b'"raw_query":"running shoes, red","query":{"vector_len":1536,"top_k":10},'
            b'"top_result_ids":["a","b"],"tags":["web"]}\n' % (n, n)
        )


async def _list(stub: Any) -> float:
    request = history_pb2.ListQueriesRequest(namespace=BOOKS.namespace, page_size=50)
    started_s = time.perf_counter()
    page = await stub.ListQueries(request, timeout=CALL_S_MAX)
    elapsed_ms = (time.perf_counter() - started_s) * 1000
    if len(page.queries) != request.page_size:
        raise AssertionError(f"{len(page.queries)} entries on a page of {request.page_size}")
    return elapsed_ms


async def _settled_reads(service: ServiceProcess) -> float:
    """Return how many reads there were once the start's own have ended."""
    before = -1.0
    while (now := await asyncio.to_thread(_reads, service)) != before:
        before = now
        await asyncio.sleep(1)
    return before


def _reads(service: ServiceProcess) -> float:
    with urllib.request.urlopen(f"http://{service.addresses['ops']}/metrics") as answer:
        return sum(map(float, READS.findall(answer.read().decode())))


def _service(data: Path, **environment: str) -> AbstractAsyncContextManager[ServiceProcess]:
    return running(
        "layer_history",
        LAYER_HISTORY_GRPC_ADDRESS="127.0.0.1:0",
        LAYER_HISTORY_DATA_DIRECTORY=str(data),
        **environment,
    )


async def _run(events_count: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        return [
            *told(),
            *await taken_in(directory),
            *await listed(directory, events_count),
        ]


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="events of the lists")
    table = Table("history", "measured", "", "goal")
    for figure in asyncio.run(_run(parser.parse_args().events)):
        table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, figure.goal)
    show(table)


if __name__ == "__main__":
    main()
