"""What the queue to the history does with events that nobody takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from layer.history.v1 import history_pb2, history_pb2_grpc
from layer_gateway.adapters import history_queue
from layer_gateway.adapters.history_queue import HistoryQueue
from layer_gateway.adapters.history_spool import MemorySpool
from layer_gateway.adapters.history_stream import HistoryStream
from layer_gateway.domain.history import Clicked, Queried
from layer_gateway.metrics import HistoryMetrics
from layer_kit.clock import monotonic
from layer_kit.names import Namespace
from layer_kit.rpc.client import open_channel
from layer_testing.edge_calls import eventually

BOOKS = Namespace("books")
ROOM = 200


class Queue:
    """A queue whose history service is away, with what it counts."""

    def __init__(self, stream: HistoryStream) -> None:
        self.registry = CollectorRegistry()
        self.spool = MemorySpool(ROOM)
        metrics = HistoryMetrics(self.registry)
        self.queue = HistoryQueue(stream, self.spool, metrics, clock=monotonic)

    @property
    def dropped(self) -> float:
        name = "layer_history_edge_events_total"
        return self.registry.get_sample_value(name, {"result": "dropped"}) or 0.0

    def spooled(self) -> list[int]:
        """Take everything out of the spool; return the moments in its order."""
        found = []
        while not self.spool.is_empty:
            batch = history_pb2.AppendEventsRequest.FromString(self.spool.oldest())
            found += [event.query.event_time_ns for event in batch.events]
            self.spool.drop_oldest()
        return found


class Taking:
    """The part of a history that takes events, all of them."""

    def __init__(self) -> None:
        self.moments: list[int] = []

    def handler(self) -> grpc.GenericRpcHandler:
        append = grpc.stream_stream_rpc_method_handler(
            self._append,
            request_deserializer=history_pb2.AppendEventsRequest.FromString,
            response_serializer=history_pb2.AppendEventsResponse.SerializeToString,
        )
        name = history_pb2.DESCRIPTOR.services_by_name["HistoryService"].full_name
        return grpc.method_handlers_generic_handler(name, {"AppendEvents": append})

    async def _append(
        self, requests: AsyncIterator[history_pb2.AppendEventsRequest], context: object
    ) -> AsyncIterator[history_pb2.AppendEventsResponse]:
        async for request in requests:
            self.moments += [event.query.event_time_ns for event in request.events]
            yield history_pb2.AppendEventsResponse(batch_number=request.batch_number)


@pytest.fixture
async def away() -> AsyncIterator[Queue]:
    async with open_channel("127.0.0.1:1", retries=False) as channel:
        yield Queue(HistoryStream(history_pb2_grpc.HistoryServiceStub(channel)))


def searched(time_ns: int, body_bytes: int = 0) -> Queried:
    return Queried(time_ns, BOOKS, "", (), "", None, {}, body_bytes, {}, ())


async def test_what_is_over_the_bound_of_events_is_dropped_and_counted(
    away: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_queue, "QUEUED_EVENTS_MAX", 4)
    for n in range(3):
        away.queue.record(searched(n))
    opened = [(f"{n}", True) for n in range(2)]
    away.queue.record(Clicked(9, BOOKS, "a" * 32, (), opened, is_batch=True))
    away.queue.record(searched(3))
    away.queue.record(searched(4))
    assert (away.queue.queued_count, away.dropped) == (4, 3)


async def test_what_is_over_the_bound_of_bytes_is_dropped_and_counted(
    away: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_queue, "QUEUED_BYTES_MAX", 2_000)
    for n in range(3):
        away.queue.record(searched(n, body_bytes=400))
    assert (away.queue.queued_count, away.dropped) == (2, 1)


async def test_what_is_not_taken_is_spooled_in_order_and_beyond_the_budget_dropped(
    away: Queue,
) -> None:
    told = 0
    while not away.dropped:
        told += 1
        away.queue.record(searched(told))
        await away.queue.step()
    assert 1 < away.spool.size_bytes <= ROOM
    assert (away.spooled(), away.dropped) == (list(range(1, told)), 1)
    assert away.queue.spooled_bytes == 0


async def test_a_close_delivers_to_a_history_that_comes_back_in_time(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 'h.sock'}"
    history = Taking()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((history.handler(),))
    server.add_insecure_port(f"unix:{tmp_path / 'elsewhere.sock'}")
    async with open_channel(address, retries=False) as channel:
        queue = Queue(HistoryStream(history_pb2_grpc.HistoryServiceStub(channel)))
        for n in range(1, 4):
            queue.queue.record(searched(n))
        closing = asyncio.create_task(queue.queue.close(30.0))

        async def has_failed_once() -> bool:
            return not queue.spool.is_empty

        await eventually(has_failed_once)
        await server.start()
        (tmp_path / "elsewhere.sock").rename(tmp_path / "h.sock")
        await closing
    await server.stop(None)
    assert (history.moments, queue.spool.is_empty) == ([1, 2, 3], True)


async def test_a_close_keeps_what_it_cannot_deliver(away: Queue) -> None:
    for n in range(1, 4):
        away.queue.record(searched(n))
    await away.queue.close(0.0)
    assert away.spooled() == [1, 2, 3]
