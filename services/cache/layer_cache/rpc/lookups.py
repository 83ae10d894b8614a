"""Lookups over a stream: each is answered as soon as it can be, and fails by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import copy_context
from typing import Final

import structlog

from layer.cache.v1 import cache_pb2
from layer_cache.application.reads import Found
from layer_kit.eager import begin
from layer_kit.errors import DeadlineError, InternalError, LayerError
from layer_kit.rpc.errors import INTERNAL_MESSAGE, to_status
from layer_kit.rpc.interceptor import DEADLINE_S_DEFAULT

log = structlog.get_logger(__name__)

IN_HAND_MAX: Final = 32
"""Lookups of one stream that were read and whose answers are not sent; the proto tells of it."""

MESSAGE_BYTES_ENOUGH: Final = 1024 * 1024
"""A message takes no further answer from here on."""

_DOMAIN: Final = cache_pb2.DESCRIPTOR.package

LookUp = Callable[[cache_pb2.LookupRowsRequest], Awaitable[Found]]


class LookupStream:
    """One open stream.

    Args:
        draining: Set when the process is about to stop. No further lookup is read then, or the
            stop would wait for a stream that never ends.
    """

    def __init__(self, look_up: LookUp, draining: asyncio.Event) -> None:
        self._look_up = look_up
        self._draining = draining
        self._room = asyncio.Semaphore(IN_HAND_MAX)
        self._under_way: set[asyncio.Task[None]] = set()
        self._answered: deque[tuple[int, Found | LayerError]] = deque()
        self._has_news = asyncio.Event()

    async def answers(
        self, requests: AsyncIterator[cache_pb2.StreamLookupsRequest]
    ) -> AsyncIterator[cache_pb2.StreamLookupsResponse]:
        """Yield answers until ``requests`` end, or the process drains, and all are answered."""
        reading = asyncio.create_task(self._read(requests))
        reading.add_done_callback(lambda _: self._has_news.set())
        drained = asyncio.create_task(self._draining.wait())
        drained.add_done_callback(lambda _: reading.cancel())
        try:
            while self._answered or self._under_way or not reading.done():
                await self._has_news.wait()
                self._has_news.clear()
                while self._answered:
                    message = self._message()
                    yield message
                    for _ in message.answers:
                        self._room.release()
            if not reading.cancelled():
                reading.result()
        finally:
            drained.cancel()
            reading.cancel()
            for lookup in self._under_way:
                lookup.cancel()
            # What they raise on their way out is nobody's any more, but it has been seen.
            await asyncio.gather(reading, drained, *self._under_way, return_exceptions=True)

    async def _read(self, requests: AsyncIterator[cache_pb2.StreamLookupsRequest]) -> None:
        async for request in requests:
            for numbered in request.lookups:
                await self._room.acquire()
                self._begin(numbered)

    def _begin(self, numbered: cache_pb2.NumberedLookup) -> None:
        """Look up at once; what has to wait for the store goes on by itself, until it is due."""
        context = copy_context()
        lookup = context.run(begin, self._answer(numbered), context=context)
        if lookup is None:
            return
        number, loop = numbered.lookup_number, asyncio.get_running_loop()
        timeout_s = numbered.timeout_ms / 1000 or DEADLINE_S_DEFAULT
        timer = loop.call_later(timeout_s, self._expire, number, lookup)
        self._under_way.add(lookup)

        def ended(lookup: asyncio.Task[None]) -> None:
            timer.cancel()
            self._under_way.discard(lookup)
            self._has_news.set()

        lookup.add_done_callback(ended)

    def _expire(self, number: int, lookup: asyncio.Task[None]) -> None:
        if lookup.cancel():
            error = DeadlineError("DEADLINE_EXCEEDED", "The deadline of the lookup passed.")
            self._tell(number, error)

    async def _answer(self, numbered: cache_pb2.NumberedLookup) -> None:
        if numbered.request_id:
            structlog.contextvars.bind_contextvars(request_id=numbered.request_id)
        self._tell(numbered.lookup_number, await self._outcome(numbered.lookup))

    async def _outcome(self, request: cache_pb2.LookupRowsRequest) -> Found | LayerError:
        """Look up, and take every failure for an answer, as the interceptor does for a call."""
        try:
            return await self._look_up(request)
        except LayerError as error:
            return error
        except Exception:
            log.exception("lookup_crashed")
            return InternalError("INTERNAL", INTERNAL_MESSAGE)

    def _tell(self, number: int, outcome: Found | LayerError) -> None:
        self._answered.append((number, outcome))
        self._has_news.set()

    def _message(self) -> cache_pb2.StreamLookupsResponse:
        """Return the answers that are there, as many as one message takes."""
        message = cache_pb2.StreamLookupsResponse()
        payload_bytes = 0
        while self._answered and payload_bytes < MESSAGE_BYTES_ENOUGH:
            number, outcome = self._answered.popleft()
            answer = message.answers.add(lookup_number=number)
            if isinstance(outcome, Found):
                render(outcome, answer.found)
                payload_bytes += outcome.payload_bytes
            else:
                answer.status = to_status(outcome, domain=_DOMAIN).SerializeToString()
        return message


def render(found: Found, response: cache_pb2.LookupRowsResponse) -> None:
    """Fill a response, in its place: one message put into another is copied."""
    response.hit_positions.extend(found.positions)
    response.bodies.extend(found.bodies)
    response.vectors.extend(found.vectors)
    response.read_token = found.read_token
    response.is_suspended = found.is_suspended
