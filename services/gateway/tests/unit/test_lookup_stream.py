"""The gateway's stream of lookups, over a socket to a cache that answers as a test wants it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

import grpc
import grpc.aio
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_gateway.adapters.lookup_stream import STREAMED_IDS_MAX, LookupStream
from layer_gateway.adapters.open_lookups import WAITING_MAX
from layer_kit.errors import DeadlineError, InvalidRequestError, UnavailableError
from layer_kit.rpc.errors import to_status

TIMEOUT_S: Final = 10.0
Context = grpc.aio.ServicerContext[
    AsyncIterator[cache_pb2.StreamLookupsRequest], AsyncIterator[cache_pb2.StreamLookupsResponse]
]


@dataclass
class OldCache(cache_pb2_grpc.CacheServiceServicer):
    """Knows calls alone."""

    calls_count: int = 0

    async def LookupRows(  # noqa: N802 -- as in the proto
        self, request: cache_pb2.LookupRowsRequest, context: object
    ) -> cache_pb2.LookupRowsResponse:
        self.calls_count += 1
        return cache_pb2.LookupRowsResponse(bodies=[b"by call"])


@dataclass
class StreamingCache(OldCache):
    """Answers a lookup with its ids when it may; takes some ids for orders."""

    streams_count: int = 0
    messages: list[list[int]] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def StreamLookups(  # noqa: N802 -- as in the proto
        self,
        requests: AsyncIterator[cache_pb2.StreamLookupsRequest],
        context: Context,
    ) -> AsyncIterator[cache_pb2.StreamLookupsResponse]:
        self.streams_count += 1
        async for request in requests:
            self.messages.append([one.lookup_number for one in request.lookups])
            await self.may_answer.wait()
            for one in reversed(request.lookups):
                ids = list(one.lookup.ids)
                if ids == [b"ignore"]:
                    continue
                if ids == [b"end"]:
                    return
                if ids == [b"break"]:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
                answer = cache_pb2.NumberedAnswer(lookup_number=one.lookup_number)
                if ids == [b"refuse"]:
                    error = InvalidRequestError("ID_INVALID", "No id.")
                    answer.status = to_status(error, domain="test").SerializeToString()
                else:
                    answer.found.bodies.extend(ids)
                yield cache_pb2.StreamLookupsResponse(answers=[answer])


def old_cache() -> OldCache:
    return OldCache()  # type: ignore[abstract]  # the rest is UNIMPLEMENTED


def streaming_cache() -> StreamingCache:
    return StreamingCache()  # type: ignore[abstract]  # the rest is UNIMPLEMENTED


@asynccontextmanager
async def served(cache: OldCache, timeout_s: float = TIMEOUT_S) -> AsyncIterator[LookupStream]:
    server = grpc.aio.server()
    cache_pb2_grpc.add_CacheServiceServicer_to_server(cache, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = LookupStream(cache_pb2_grpc.CacheServiceStub(channel), timeout_s=timeout_s)
        yield stream
        await stream.close()
    await server.stop(grace=None)


async def looked_up(stream: LookupStream, *ids: bytes) -> list[bytes]:
    told: asyncio.Future[cache_pb2.LookupRowsResponse | BaseException] = asyncio.Future()
    stream(cache_pb2.LookupRowsRequest(namespace="books", ids=ids), told.set_result)
    outcome = await told
    if isinstance(outcome, BaseException):
        raise outcome
    return list(outcome.bodies)


async def test_each_gets_its_own_answer_in_whatever_order_they_come() -> None:
    cache = streaming_cache()
    async with served(cache) as stream:
        names = [b"%d" % number for number in range(100)]
        found = await asyncio.gather(*(looked_up(stream, name) for name in names))
    assert found == [[name] for name in names]
    assert (cache.streams_count, cache.calls_count) == (1, 0)


async def test_lookups_that_come_while_a_message_is_on_its_way_go_in_the_next_one() -> None:
    cache = streaming_cache()
    async with served(cache) as stream:
        await asyncio.gather(*(looked_up(stream, b"%d" % number) for number in range(5)))
    assert cache.messages == [[1], [2, 3, 4, 5]]


async def test_a_refusal_is_the_error_that_a_call_would_raise_and_ends_no_stream() -> None:
    cache = streaming_cache()
    async with served(cache) as stream:
        with pytest.raises(InvalidRequestError, match="No id") as caught:
            await looked_up(stream, b"refuse")
        assert await looked_up(stream, b"u1") == [b"u1"]
    assert caught.value.reason == "ID_INVALID"
    assert cache.streams_count == 1


@pytest.mark.parametrize("order", [b"break", b"end"])
async def test_the_end_of_a_stream_fails_who_waits_and_the_next_lookup_opens_another(
    order: bytes,
) -> None:
    cache = streaming_cache()
    async with served(cache) as stream:
        assert await looked_up(stream, b"u1") == [b"u1"]
        waiting = asyncio.gather(
            looked_up(stream, b"ignore"), looked_up(stream, order), return_exceptions=True
        )
        assert [type(fault) for fault in await waiting] == [UnavailableError, UnavailableError]
        assert await looked_up(stream, b"u3") == [b"u3"]
    assert cache.streams_count == 2


async def test_a_cache_that_is_silent_fails_a_lookup_at_its_deadline_and_no_later_one() -> None:
    cache = streaming_cache()
    async with served(cache, timeout_s=1.0) as stream:
        cache.may_answer.clear()
        with pytest.raises(DeadlineError):
            await looked_up(stream, b"u1")
        cache.may_answer.set()
        assert await looked_up(stream, b"u2") == [b"u2"]
    assert cache.streams_count == 1


@dataclass
class SlowCall:
    """A call that takes no message before it may, and is never answered."""

    may_take: asyncio.Event = field(default_factory=asyncio.Event)
    taken: asyncio.Queue[list[int]] = field(default_factory=asyncio.Queue)

    async def write(self, message: cache_pb2.StreamLookupsRequest) -> None:
        self.taken.put_nowait([one.lookup_number for one in message.lookups])
        await self.may_take.wait()

    async def read(self) -> None:
        await asyncio.Event().wait()

    def StreamLookups(self) -> SlowCall:  # noqa: N802 -- as in the proto
        return self

    def stream(self, timeout_s: float) -> LookupStream:
        return LookupStream(cast("cache_pb2_grpc.CacheServiceStub", self), timeout_s=timeout_s)


async def test_a_lookup_whose_deadline_has_passed_is_not_sent() -> None:
    call = SlowCall()
    stream = call.stream(timeout_s=0.05)
    waiting = [asyncio.create_task(looked_up(stream, b"u%d" % number)) for number in (1, 2)]
    assert await call.taken.get() == [1]
    for task in waiting:
        with pytest.raises(DeadlineError):
            await task
    call.may_take.set()
    later = asyncio.create_task(looked_up(stream, b"u3"))
    assert await call.taken.get() == [3]
    with pytest.raises(DeadlineError):
        await later


async def test_each_lookup_has_its_own_deadline() -> None:
    call = SlowCall()
    stream = call.stream(timeout_s=0.05)
    told: list[int] = []
    ended = asyncio.Event()

    def tell(number: int, outcome: object) -> None:
        assert isinstance(outcome, DeadlineError)
        told.append(number)
        if number == 1:  # who is told may ask again
            stream(cache_pb2.LookupRowsRequest(), partial(tell, 3))
        elif number == 3:
            ended.set()

    stream(cache_pb2.LookupRowsRequest(), partial(tell, 1))
    stream(cache_pb2.LookupRowsRequest(), partial(tell, 2))
    async with asyncio.timeout(TIMEOUT_S):
        await ended.wait()
    assert told == [1, 2, 3]


async def test_lookups_that_wait_for_a_message_to_be_taken_are_bounded() -> None:
    call = SlowCall()
    stream = call.stream(timeout_s=TIMEOUT_S)
    outcomes: list[object] = []
    for _ in range(1 + WAITING_MAX):  # one is on its way
        stream(cache_pb2.LookupRowsRequest(), outcomes.append)
    assert outcomes == []
    stream(cache_pb2.LookupRowsRequest(), outcomes.append)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError]
    call.may_take.set()
    sent: list[int] = []
    async with asyncio.timeout(TIMEOUT_S):
        while len(sent) < 1 + WAITING_MAX:
            sent += await call.taken.get()
    assert sent == list(range(1, 2 + WAITING_MAX))
    assert len(outcomes) == 1


async def test_a_cache_that_is_away_is_told_at_once() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        stream = LookupStream(cache_pb2_grpc.CacheServiceStub(channel), timeout_s=TIMEOUT_S)
        with pytest.raises(UnavailableError):
            await looked_up(stream, b"u1")
        await stream.close()


async def test_a_cache_that_knows_no_streams_is_called() -> None:
    cache = old_cache()
    async with served(cache) as stream:
        assert await looked_up(stream, b"u1") == [b"by call"]
        assert await looked_up(stream, b"u1") == [b"by call"]
    assert cache.calls_count == 2


async def test_a_large_lookup_goes_by_a_call_of_its_own() -> None:
    cache = streaming_cache()
    async with served(cache) as stream:
        assert await looked_up(stream, *[b"u1"] * (STREAMED_IDS_MAX + 1)) == [b"by call"]
    assert cache.streams_count == 0


@pytest.mark.parametrize(
    ("flags", "found"), [(trace.TraceFlags.SAMPLED, b"by call"), (trace.TraceFlags.DEFAULT, b"u1")]
)
async def test_a_lookup_of_a_trace_that_is_kept_goes_by_a_call_of_its_own(
    flags: int, found: bytes
) -> None:
    span = trace.NonRecordingSpan(
        trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(flags))
    )
    async with served(streaming_cache()) as stream:
        token = otel_context.attach(trace.set_span_in_context(span))
        assert await looked_up(stream, b"u1") == [found]
        otel_context.detach(token)
