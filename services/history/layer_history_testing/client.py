"""The history as a process, and its API in few words.

Events are of the client's own namespace where they name none.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc.aio

from layer.history.v1 import history_pb2, history_pb2_grpc
from layer_kit.rpc.client import invoke, open_channel
from layer_kit.rpc.errors import from_rpc_error
from layer_testing.processes import ServiceProcess, running

NAMESPACE: Final = "books"
TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
MOMENT_NS: Final = 1_780_000_000_123_000_000
"""2026-05-28T20:26:40.123Z"""
CALL_S_MAX: Final = 20.0

Answer = TypeVar("Answer")
Event = history_pb2.Event


def query(time_ns: int = MOMENT_NS, **fields: Any) -> Event:
    """Return a search; ``fields`` override."""
    values: dict[str, Any] = {
        "event_time_ns": time_ns,
        "trace_id": f"{time_ns:032x}",
        "raw_query": "red shoes",
        "summary_json": b'{"top_k":10}',
        "top_result_ids": ["b", "a"],
    }
    return Event(query=history_pb2.QueryEvent(**(values | fields)))


def click(time_ns: int = MOMENT_NS, **fields: Any) -> Event:
    """Return an opened result; ``fields`` override."""
    values: dict[str, Any] = {
        "event_time_ns": time_ns,
        "trace_id": TRACE,
        "document_id": "a",
        "source": history_pb2.CLICK_SOURCE_SINGLE,
        "served_from": history_pb2.SERVED_FROM_CACHE,
    }
    return Event(click=history_pb2.ClickEvent(**(values | fields)))


def lines_under(objects: Path, folder: str) -> list[dict[str, object]]:
    """Return the lines of every object of a folder that is not packed."""
    found: list[dict[str, object]] = []
    for path in sorted((objects / folder).rglob("*.jsonl")):
        with suppress(FileNotFoundError):  # since it was removed meanwhile
            found += map(json.loads, path.read_text().splitlines())
    return found


@asynccontextmanager
async def running_history(
    data: Path, store: Path, namespace: str = NAMESPACE, **environment: str
) -> AsyncIterator[tuple[HistoryClient, ServiceProcess]]:
    """Run the service over two folders; ``environment`` overrides its settings."""
    settings = {
        "LAYER_HISTORY_GRPC_ADDRESS": "127.0.0.1:0",
        "LAYER_HISTORY_DATA_DIRECTORY": str(data),
        "LAYER_HISTORY_OBJECTS_DIRECTORY": str(store),
        "LAYER_HISTORY_FLUSH_INTERVAL_S": "600",
    }
    async with (
        running("layer_history", **(settings | environment)) as process,
        open_channel(process.addresses["grpc"], retries=False) as channel,
    ):
        yield HistoryClient(channel, namespace), process


class HistoryClient:
    """Calls the service; raises what it raised."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self.stub = history_pb2_grpc.HistoryServiceStub(channel)

    async def append(self, *events: Event) -> None:
        """Append one batch and wait until all of it is durable."""
        (answer,) = await self.send([events])
        assert (answer.accepted_count, list(answer.refusals)) == (len(events), [])

    async def send(
        self, batches: Sequence[Sequence[Event]]
    ) -> list[history_pb2.AppendEventsResponse]:
        """Append batches on one stream; return what was answered to each."""

        async def requests() -> AsyncIterator[history_pb2.AppendEventsRequest]:
            for number, events in enumerate(batches):
                for event in events:
                    _place(event, self.namespace)
                yield history_pb2.AppendEventsRequest(events=events, batch_number=number)

        answers = self.stub.AppendEvents(requests(), timeout=CALL_S_MAX)
        try:
            return [answer async for answer in answers]
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def queries(self, namespace: str = "", **fields: Any) -> list[int]:
        """Return the moments of the searches on one page."""
        page = await self.list_queries(namespace, **fields)
        return [one.event_time_ns for one in page.queries]

    async def clicks(self, namespace: str = "", **fields: Any) -> list[tuple[int, str]]:
        """Return the moments and rows of the clicks on one page."""
        request = history_pb2.ListClicksRequest(
            **({"namespace": namespace or self.namespace} | fields)
        )
        page = await self.call(self.stub.ListClicks, request)
        return [(one.event_time_ns, one.document_id) for one in page.clicks]

    async def list_queries(
        self, namespace: str = "", **fields: Any
    ) -> history_pb2.ListQueriesResponse:
        request = history_pb2.ListQueriesRequest(
            **({"namespace": namespace or self.namespace} | fields)
        )
        return await self.call(self.stub.ListQueries, request)

    async def all_queries(self, namespace: str = "", page_size: int = 500) -> list[int]:
        """Return the moments of all searches, page by page."""
        return [
            one.event_time_ns
            async for page in self.query_pages(namespace, page_size)
            for one in page.queries
        ]

    async def query_pages(
        self, namespace: str = "", page_size: int = 500
    ) -> AsyncIterator[history_pb2.ListQueriesResponse]:
        """Yield the pages of searches, each of which must begin before the one ahead of it."""
        token = ""
        while True:
            page = await self.list_queries(namespace, page_size=page_size, page_token=token)
            yield page
            before, token = token, page.next_page_token
            if not token:
                return
            assert not before or int(token) < int(before), "the pages do not get on"

    async def trace(self, trace_id: str) -> history_pb2.GetTraceResponse:
        request = history_pb2.GetTraceRequest(namespace=self.namespace, trace_id=trace_id)
        return await self.call(self.stub.GetTrace, request)

    async def set_policy(self, **fields: Any) -> None:
        policy = history_pb2.HistoryPolicy(**fields)
        request = history_pb2.UpdateHistoryPolicyRequest(namespace=self.namespace, policy=policy)
        await self.call(self.stub.UpdateHistoryPolicy, request)

    async def policy(self) -> history_pb2.HistoryPolicy:
        request = history_pb2.GetHistoryPolicyRequest(namespace=self.namespace)
        return (await self.call(self.stub.GetHistoryPolicy, request)).policy

    async def delete(self) -> int:
        request = history_pb2.DeleteNamespaceHistoryRequest(namespace=self.namespace)
        return (await self.call(self.stub.DeleteNamespaceHistory, request)).deleted_object_count

    async def call(self, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        return await invoke(method, request, timeout_s=CALL_S_MAX)


def _place(event: Event, namespace: str) -> None:
    if (kind := event.WhichOneof("kind")) is None:
        return
    value = event.query if kind == "query" else event.click
    value.namespace = value.namespace or namespace
