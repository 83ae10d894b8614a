"""Lookups over a stream, against lookups that take as long as a test wants."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from google.rpc import error_details_pb2, status_pb2

from layer.cache.v1 import cache_pb2
from layer_cache.application.found import Found
from layer_cache.rpc.lookups import LookupStream
from layer_cache.rpc.lookups_in_hand import IN_HAND_MAX, MESSAGE_BYTES_ENOUGH
from layer_kit.errors import Code, InvalidRequestError

LookUp = Callable[[cache_pb2.LookupRowsRequest], Awaitable[Found]]


class Caller:
    """One who sends lookups of a row called as its number, and reads answers."""

    def __init__(self, look_up: LookUp) -> None:
        self.draining = asyncio.Event()
        self._requests: asyncio.Queue[cache_pb2.StreamLookupsRequest | None] = asyncio.Queue()
        self._messages = LookupStream(look_up, self.draining).answers(self._sent())

    def ask(self, *numbers: int, timeout_ms: int = 0) -> None:
        self._requests.put_nowait(
            cache_pb2.StreamLookupsRequest(
                lookups=[
                    cache_pb2.NumberedLookup(
                        lookup_number=number,
                        timeout_ms=timeout_ms,
                        lookup=cache_pb2.LookupRowsRequest(ids=[b"%d" % number]),
                    )
                    for number in numbers
                ]
            )
        )

    def leave(self) -> None:
        self._requests.put_nowait(None)

    async def read(self) -> list[cache_pb2.NumberedAnswer]:
        """Return the answers of the next message; none at the end of the stream."""
        message = await anext(self._messages, None)
        return [] if message is None else list(message.answers)

    async def _sent(self) -> AsyncIterator[cache_pb2.StreamLookupsRequest]:
        while (request := await self._requests.get()) is not None:
            yield request


def found(*bodies: bytes) -> Found:
    return Found(
        positions=list(range(len(bodies))),
        bodies=list(bodies),
        vectors=[b""] * len(bodies),
        payload_bytes=sum(map(len, bodies)),
        read_token=b"token",
        is_suspended=False,
    )


async def look_up(request: cache_pb2.LookupRowsRequest) -> Found:
    return found(request.ids[0])


async def test_lookups_of_one_message_are_answered_in_one_message() -> None:
    caller = Caller(look_up)
    caller.ask(7, 8, 9)
    caller.leave()

    answers = await caller.read()

    assert [(answer.lookup_number, *answer.found.bodies) for answer in answers] == [
        (7, b"7"),
        (8, b"8"),
        (9, b"9"),
    ]
    assert await caller.read() == []


async def test_a_slow_lookup_holds_up_no_other() -> None:
    may_end = asyncio.Event()

    async def slow_for_one(request: cache_pb2.LookupRowsRequest) -> Found:
        if request.ids[0] == b"1":
            await may_end.wait()
        return await look_up(request)

    caller = Caller(slow_for_one)
    caller.ask(1, 2)

    assert [answer.lookup_number for answer in await caller.read()] == [2]
    may_end.set()
    assert [answer.lookup_number for answer in await caller.read()] == [1]


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        (InvalidRequestError("ID_INVALID", "No id."), Code.INVALID_ARGUMENT, "ID_INVALID"),
        (ZeroDivisionError(), Code.INTERNAL, "INTERNAL"),
    ],
)
async def test_a_lookup_that_fails_does_so_alone(fault: Exception, code: int, reason: str) -> None:
    async def failing_for_one(request: cache_pb2.LookupRowsRequest) -> Found:
        if request.ids[0] == b"1":
            raise fault
        return await look_up(request)

    caller = Caller(failing_for_one)
    caller.ask(1, 2)

    failed, answered = await caller.read()

    status, info = status_pb2.Status.FromString(failed.status), error_details_pb2.ErrorInfo()
    assert status.code == code
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "layer.cache.v1")
    assert answered.found.bodies == [b"2"]


async def test_a_lookup_ends_at_its_deadline() -> None:
    async def endless(_: cache_pb2.LookupRowsRequest) -> Found:
        await asyncio.Event().wait()
        raise AssertionError

    caller = Caller(endless)
    caller.ask(1, timeout_ms=1)

    (answer,) = await caller.read()

    assert status_pb2.Status.FromString(answer.status).code == Code.DEADLINE_EXCEEDED


async def test_no_more_is_in_hand_than_is_told() -> None:
    begun: list[bytes] = []

    async def counted(request: cache_pb2.LookupRowsRequest) -> Found:
        begun.append(request.ids[0])
        return await look_up(request)

    caller = Caller(counted)
    caller.ask(*range(3 * IN_HAND_MAX))
    first = await caller.read()
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(begun) == len(first) == IN_HAND_MAX  # until the first message is sent

    rest = [*await caller.read(), *await caller.read()]
    assert [one.lookup_number for one in (*first, *rest)] == list(range(3 * IN_HAND_MAX))


async def test_large_answers_share_no_message() -> None:
    async def large(_: cache_pb2.LookupRowsRequest) -> Found:
        return found(b"x" * 1024 * 1024)

    caller = Caller(large)
    caller.ask(1, 2)
    caller.leave()

    assert [len(await caller.read()) for _ in range(3)] == [1, 1, 0]


async def test_no_lookup_is_begun_while_large_answers_wait_to_be_sent() -> None:
    begun: list[bytes] = []

    async def large(request: cache_pb2.LookupRowsRequest) -> Found:
        begun.append(request.ids[0])
        return found(b"x" * MESSAGE_BYTES_ENOUGH)

    caller = Caller(large)
    caller.ask(*range(IN_HAND_MAX))
    sent = await caller.read()
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(begun) <= 2

    for _ in range(IN_HAND_MAX - 1):
        sent += await caller.read()
    assert [one.lookup_number for one in sent] == list(range(IN_HAND_MAX))


async def test_what_is_in_hand_is_answered_before_a_stream_ends_because_the_process_does() -> None:
    may_end = asyncio.Event()

    async def slow(request: cache_pb2.LookupRowsRequest) -> Found:
        caller.draining.set()
        await may_end.wait()
        return await look_up(request)

    caller = Caller(slow)
    caller.ask(1)
    reading = asyncio.create_task(caller.read())
    await caller.draining.wait()
    may_end.set()

    assert [answer.lookup_number for answer in await reading] == [1]
    assert await caller.read() == []


async def test_a_caller_who_leaves_ends_its_lookups() -> None:
    ended = asyncio.Event()

    async def endless(_: cache_pb2.LookupRowsRequest) -> Found:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    stream = LookupStream(endless, asyncio.Event())
    request = cache_pb2.StreamLookupsRequest(lookups=[cache_pb2.NumberedLookup(lookup_number=1)])

    async def sent() -> AsyncIterator[cache_pb2.StreamLookupsRequest]:
        yield request
        await asyncio.Event().wait()

    messages = stream.answers(sent())
    reading = asyncio.ensure_future(anext(messages))
    for _ in range(10):
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})

    async with asyncio.timeout(10):
        await ended.wait()


async def test_nothing_that_goes_wrong_at_the_end_of_a_stream_is_left_unseen() -> None:
    lost: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
    has_begun = asyncio.Event()

    async def bad_loser(_: cache_pb2.LookupRowsRequest) -> Found:
        try:
            has_begun.set()
            await asyncio.Event().wait()
        finally:
            raise SystemError

    async def sent() -> AsyncIterator[cache_pb2.StreamLookupsRequest]:
        try:
            yield cache_pb2.StreamLookupsRequest(lookups=[cache_pb2.NumberedLookup()])
            await asyncio.Event().wait()
        finally:
            raise SystemError

    messages = LookupStream(bad_loser, asyncio.Event()).answers(sent())
    reading = asyncio.ensure_future(anext(messages))
    await has_begun.wait()
    reading.cancel()
    await asyncio.wait({reading})
    assert reading.cancelled()
    del messages, reading
    gc.collect()
    assert lost == []


async def test_requests_that_break_off_end_the_stream_after_what_was_asked_is_answered() -> None:
    async def breaking_off() -> AsyncIterator[cache_pb2.StreamLookupsRequest]:
        numbered = cache_pb2.NumberedLookup(
            lookup_number=1, lookup=cache_pb2.LookupRowsRequest(ids=[b"1"])
        )
        yield cache_pb2.StreamLookupsRequest(lookups=[numbered])
        raise ConnectionResetError

    messages = LookupStream(look_up, asyncio.Event()).answers(breaking_off())
    assert [answer.lookup_number for answer in (await anext(messages)).answers] == [1]
    with pytest.raises(ConnectionResetError):
        await anext(messages)
