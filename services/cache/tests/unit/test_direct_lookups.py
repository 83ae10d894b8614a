"""Lookups over a stream without grpc, against lookups that take as long as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from layer.cache.v1 import cache_pb2
from layer_cache.application.found import Found
from layer_cache.rpc.direct_lookups import (
    INCARNATION_FIELD,
    METHOD,
    DirectLookups,
    address_beside,
    told_address,
)
from layer_cache.rpc.lookups_in_hand import IN_HAND_MAX, LookUpNow
from layer_kit.addresses import parse_address
from layer_kit.errors import InvalidRequestError, LayerError, PreconditionError
from layer_kit.rpc.calls import CallMetrics
from layer_streams.client import ClientStream, open_stream
from layer_streams.limits import STREAM_WINDOW_BYTES
from layer_streams.server import stream_server

TIMEOUT_S = 10.0

LookUp = Callable[[cache_pb2.LookupRowsRequest], Awaitable[Found]]


async def look_up(request: cache_pb2.LookupRowsRequest) -> Found:
    return Found(
        positions=[0],
        bodies=[request.ids[0]],
        vectors=[b""],
        payload_bytes=len(request.ids[0]),
        read_token=b"token",
        is_suspended=False,
    )


class Caller:
    """One who sends lookups of a row called as its number, and reads answers."""

    stream: ClientStream

    def __init__(self) -> None:
        self._heard: asyncio.Queue[cache_pb2.NumberedAnswer | LayerError | None] = asyncio.Queue()
        self.draining = asyncio.Event()

    def ask(self, *numbers: int, timeout_ms: int = 0) -> None:
        message = cache_pb2.StreamLookupsRequest(
            lookups=[
                cache_pb2.NumberedLookup(
                    lookup_number=number,
                    timeout_ms=timeout_ms,
                    lookup=cache_pb2.LookupRowsRequest(ids=[b"%d" % number]),
                )
                for number in numbers
            ]
        )
        self.stream.send(message.SerializeToString())

    async def read(self) -> cache_pb2.NumberedAnswer | None:
        """Return the next answer, None at the end of the stream."""
        heard = await asyncio.wait_for(self._heard.get(), TIMEOUT_S)
        if isinstance(heard, LayerError):
            raise heard
        return heard

    async def read_numbers(self, count: int) -> list[int]:
        answers = [await self.read() for _ in range(count)]
        return [answer.lookup_number for answer in answers if answer is not None]

    def accepted(self) -> None:
        pass

    def received(self, message: bytes) -> None:
        for answer in cache_pb2.StreamLookupsResponse.FromString(message).answers:
            self._heard.put_nowait(answer)

    def writable(self) -> None:
        pass

    def finished(self) -> None:
        pass

    def ended(self, error: LayerError | None) -> None:
        self._heard.put_nowait(error)


@asynccontextmanager
async def calling(
    path: Path,
    look_up: LookUp,
    look_up_now: LookUpNow = lambda _: None,
    metadata: Mapping[str, str] | None = None,
) -> AsyncIterator[Caller]:
    caller, address = Caller(), f"unix:{path}/s"
    lookups = DirectLookups(
        look_up=look_up,
        look_up_now=look_up_now,
        incarnation="abc",
        draining=caller.draining,
    )
    async with stream_server(
        address=address,
        methods={METHOD: lookups},
        domain="test",
        calls=CallMetrics(CollectorRegistry()),
        shutdown_grace_s=0,
    ):
        caller.stream = await open_stream(
            parse_address(address), METHOD, caller, metadata=metadata, timeout_s=TIMEOUT_S
        )
        yield caller
        caller.stream.cancel()


async def test_lookups_of_one_message_are_answered(tmp_path: Path) -> None:
    async with calling(tmp_path, look_up) as caller:
        caller.ask(7, 8, 9)
        answers = [await caller.read() for _ in range(3)]
        caller.stream.finish()
        assert await caller.read() is None
    assert [answer and (answer.lookup_number, *answer.found.bodies) for answer in answers] == [
        (7, b"7"),
        (8, b"8"),
        (9, b"9"),
    ]


async def test_a_lookup_that_waits_for_nothing_is_answered_where_it_is_read(
    tmp_path: Path,
) -> None:
    waited: list[bytes] = []

    async def waiting(request: cache_pb2.LookupRowsRequest) -> Found:
        waited.append(request.ids[0])
        return await look_up(request)

    def at_once(request: cache_pb2.LookupRowsRequest) -> Found | None:
        match request.ids[0]:
            case b"2":
                return None
            case b"3":
                raise InvalidRequestError("ID_INVALID", "not this one")
            case row_id:
                return Found(
                    positions=[0],
                    bodies=[row_id],
                    vectors=[b""],
                    read_token=b"now",
                    is_suspended=False,
                )

    async with calling(tmp_path, waiting, at_once) as caller:
        answers = []
        for numbers in ((1,), (2,), (3,), (4,), (5, 6)):
            caller.ask(*numbers)
            answers += [await caller.read() for _ in numbers]
    assert [one and (one.lookup_number, one.found.read_token) for one in answers] == [
        (1, b"now"),
        (2, b"token"),
        (3, b"token"),
        (4, b"now"),
        (5, b"token"),
        (6, b"token"),
    ]
    assert waited == [b"2", b"3", b"5", b"6"]


async def test_a_slow_lookup_holds_up_no_other_and_is_answered_before_the_end(
    tmp_path: Path,
) -> None:
    may_end = asyncio.Event()

    async def slow_for_one(request: cache_pb2.LookupRowsRequest) -> Found:
        if request.ids[0] == b"1":
            await may_end.wait()
        return await look_up(request)

    async with calling(tmp_path, slow_for_one) as caller:
        caller.ask(1, 2)
        assert await caller.read_numbers(1) == [2]
        caller.draining.set()
        may_end.set()
        assert await caller.read_numbers(1) == [1]
        assert await caller.read() is None


async def test_no_further_lookup_is_begun_while_the_cache_drains(tmp_path: Path) -> None:
    begun: list[bytes] = []
    may_end = asyncio.Event()

    async def noting(request: cache_pb2.LookupRowsRequest) -> Found:
        begun.append(request.ids[0])
        await may_end.wait()
        return await look_up(request)

    async with calling(tmp_path, noting) as caller:
        caller.ask(1)
        caller.draining.set()
        async with asyncio.timeout(TIMEOUT_S):
            while not begun:  # noqa: ASYNC110
                await asyncio.sleep(0)  # nothing tells when it was read
        caller.ask(2)
        may_end.set()
        assert await caller.read_numbers(1) == [1]
        assert await caller.read() is None
    assert begun == [b"1"]


async def test_only_so_many_lookups_are_in_hand(tmp_path: Path) -> None:
    begun: list[bytes] = []
    may_end = asyncio.Event()

    async def slow(request: cache_pb2.LookupRowsRequest) -> Found:
        begun.append(request.ids[0])
        await may_end.wait()
        return await look_up(request)

    numbers = list(range(1, 3 * IN_HAND_MAX))
    async with calling(tmp_path, slow) as caller:
        caller.ask(*numbers)
        async with asyncio.timeout(TIMEOUT_S):
            while len(begun) < IN_HAND_MAX:  # noqa: ASYNC110
                await asyncio.sleep(0)  # nothing tells when they were read
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(begun) == IN_HAND_MAX
        may_end.set()
        assert await caller.read_numbers(len(numbers)) == numbers


async def test_no_lookup_is_begun_while_large_answers_wait_to_be_sent(tmp_path: Path) -> None:
    begun: list[bytes] = []

    async def large(request: cache_pb2.LookupRowsRequest) -> Found:
        begun.append(request.ids[0])
        answer = await look_up(request)
        answer.bodies[0], answer.payload_bytes = b"x" * STREAM_WINDOW_BYTES, STREAM_WINDOW_BYTES
        return answer

    numbers = list(range(IN_HAND_MAX))
    async with calling(tmp_path, large) as caller:
        caller.stream.hold()
        caller.ask(*numbers)
        async with asyncio.timeout(TIMEOUT_S):
            while not begun:  # noqa: ASYNC110
                await asyncio.sleep(0)  # nothing tells when it was read
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(begun) <= 3
        caller.stream.resume()
        assert await caller.read_numbers(len(numbers)) == numbers


async def test_a_lookup_that_is_due_is_told_so(tmp_path: Path) -> None:
    async def endless(_: cache_pb2.LookupRowsRequest) -> Found:
        await asyncio.Event().wait()
        raise AssertionError

    async with calling(tmp_path, endless) as caller:
        caller.ask(1, timeout_ms=20)
        answer = await caller.read()
    assert answer is not None
    assert b"DEADLINE_EXCEEDED" in answer.status


async def test_what_is_no_message_ends_the_stream_alone(tmp_path: Path) -> None:
    async with calling(tmp_path, look_up) as caller:
        caller.stream.send(b"\xff\xff")
        with pytest.raises(InvalidRequestError) as caught:
            await caller.read()
    assert caught.value.reason == "MESSAGE_MALFORMED"


async def test_a_caller_whose_session_is_with_another_cache_is_refused(tmp_path: Path) -> None:
    async with calling(tmp_path, look_up, metadata={INCARNATION_FIELD: "other"}) as caller:
        with pytest.raises(PreconditionError) as caught:
            await caller.read()
    assert caught.value.reason == "INCARNATION_DIFFERS"


@pytest.mark.parametrize(
    ("grpc_address", "beside"),
    [
        ("unix:/run/cache.sock", "unix:/run/cache.sock.lookups"),
        ("127.0.0.1:7101", "127.0.0.1:0"),
        ("[::1]:7101", "[::1]:0"),
        (":7101", "0.0.0.0:0"),
    ],
)
def test_the_address_is_beside_that_of_grpc(grpc_address: str, beside: str) -> None:
    assert address_beside(grpc_address) == beside


@pytest.mark.parametrize(
    ("bound", "told"), [("unix:/run/lookups", "unix:/run/lookups"), ("0.0.0.0:7111", ":7111")]
)
def test_a_gateway_is_told_what_it_does_not_know(bound: str, told: str) -> None:
    assert told_address(bound) == told
