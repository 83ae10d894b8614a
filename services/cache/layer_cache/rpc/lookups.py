"""Lookups over a stream: each is answered as soon as it can be, and fails by itself."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import structlog

from layer.cache.v1 import cache_pb2
from layer_cache.application.reads import Found
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
            while not reading.done() or self._under_way:
                await self._has_news.wait()
                self._has_news.clear()
                while self._answered:
                    message = self._message()
                    yield message
                    for _ in message.answers:
                        self._room.release()
        finally:
            drained.cancel()
            reading.cancel()
            for lookup in self._under_way:
                lookup.cancel()

    async def _read(self, requests: AsyncIterator[cache_pb2.StreamLookupsRequest]) -> None:
        async for request in requests:
            for numbered in request.lookups:
                await self._room.acquire()
                lookup = asyncio.create_task(self._answer(numbered))
                self._under_way.add(lookup)
                lookup.add_done_callback(self._forget)

    def _forget(self, lookup: asyncio.Task[None]) -> None:
        self._under_way.discard(lookup)
        self._has_news.set()

    async def _answer(self, numbered: cache_pb2.NumberedLookup) -> None:
        if numbered.request_id:
            structlog.contextvars.bind_contextvars(request_id=numbered.request_id)
        self._answered.append((numbered.lookup_number, await self._outcome(numbered)))

    async def _outcome(self, numbered: cache_pb2.NumberedLookup) -> Found | LayerError:
        """Look up, and take every failure for an answer, as the interceptor does for a call."""
        try:
            async with asyncio.timeout(numbered.timeout_ms / 1000 or DEADLINE_S_DEFAULT):
                return await self._look_up(numbered.lookup)
        except LayerError as error:
            return error
        except TimeoutError:
            return DeadlineError("DEADLINE_EXCEEDED", "The deadline of the lookup passed.")
        except Exception:
            log.exception("lookup_crashed")
            return InternalError("INTERNAL", INTERNAL_MESSAGE)

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
