"""Lookups that were read from a stream and are not answered yet, whatever carries the stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Final

import structlog

from layer.cache.v1 import cache_pb2
from layer_cache.application.found import Found
from layer_kit.eager import begin
from layer_kit.errors import DeadlineError, InternalError, LayerError
from layer_kit.rpc.errors import INTERNAL_MESSAGE, to_status
from layer_kit.rpc.interceptor import DEADLINE_S_DEFAULT

log = structlog.get_logger(__name__)

IN_HAND_MAX: Final = 32
"""Lookups of one stream that were read and whose answers are not sent; the proto tells of it."""

MESSAGE_BYTES_ENOUGH: Final = 1024 * 1024
"""A message takes no further answer from here on, and no lookup is begun while so much waits."""

_DOMAIN: Final = cache_pb2.DESCRIPTOR.package

LookUp = Callable[[cache_pb2.LookupRowsRequest], Awaitable[Found]]
LookUpNow = Callable[[cache_pb2.LookupRowsRequest], Found | None]


class LookupsInHand:
    """Begins lookups and collects their answers.

    Args:
        has_news: Called when a lookup that had to wait has ended; never by :meth:`begin`.
    """

    def __init__(self, look_up: LookUp, has_news: Callable[[], None]) -> None:
        self._look_up = look_up
        self._has_news = has_news
        self._under_way: set[asyncio.Task[None]] = set()
        self._answered: deque[tuple[int, Found | LayerError]] = deque()
        self._answered_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether another lookup may be begun."""
        count = len(self._under_way) + len(self._answered)
        return count < IN_HAND_MAX and self._answered_bytes < MESSAGE_BYTES_ENOUGH

    @property
    def has_answers(self) -> bool:
        return bool(self._answered)

    @property
    def count(self) -> int:
        """How many there are, answered or not."""
        return len(self._under_way) + len(self._answered)

    def begin(self, numbered: cache_pb2.NumberedLookup) -> None:
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
            self._has_news()

        lookup.add_done_callback(ended)

    def message(self) -> cache_pb2.StreamLookupsResponse:
        """Return the answers that are there, as many as one message takes."""
        message = cache_pb2.StreamLookupsResponse()
        payload_bytes = 0
        while self._answered and payload_bytes < MESSAGE_BYTES_ENOUGH:
            number, outcome = self._answered.popleft()
            answer = message.answers.add(lookup_number=number)
            if isinstance(outcome, Found):
                render(outcome, answer.found)
                payload_bytes += outcome.payload_bytes
                self._answered_bytes -= outcome.payload_bytes
            else:
                answer.status = to_status(outcome, domain=_DOMAIN).SerializeToString()
        return message

    def cancel(self) -> list[asyncio.Task[None]]:
        """Break off what is under way; return it, to be waited for."""
        for lookup in self._under_way:
            lookup.cancel()
        return list(self._under_way)

    def _expire(self, number: int, lookup: asyncio.Task[None]) -> None:
        if lookup.cancel():
            error = DeadlineError("DEADLINE_EXCEEDED", "The deadline of the lookup passed.")
            self._answered.append((number, error))
            self._has_news()

    async def _answer(self, numbered: cache_pb2.NumberedLookup) -> None:
        if numbered.request_id:
            structlog.contextvars.bind_contextvars(request_id=numbered.request_id)
        outcome = await self._outcome(numbered.lookup)
        self._answered.append((numbered.lookup_number, outcome))
        if isinstance(outcome, Found):
            self._answered_bytes += outcome.payload_bytes

    async def _outcome(self, request: cache_pb2.LookupRowsRequest) -> Found | LayerError:
        """Look up, and take every failure for an answer, as the interceptor does for a call."""
        try:
            return await self._look_up(request)
        except LayerError as error:
            return error
        except Exception:
            log.exception("lookup_crashed")
            return InternalError("INTERNAL", INTERNAL_MESSAGE)


def message_of(number: int, found: Found) -> cache_pb2.StreamLookupsResponse:
    """Return the message that answers one lookup alone."""
    message = cache_pb2.StreamLookupsResponse()
    render(found, message.answers.add(lookup_number=number).found)
    return message


def render(found: Found, response: cache_pb2.LookupRowsResponse) -> None:
    """Fill a response, in its place: one message put into another is copied."""
    response.hit_positions.extend(found.positions)
    response.bodies.extend(found.bodies)
    response.vectors.extend(found.vectors)
    response.read_token = found.read_token
    if found.is_suspended:
        response.is_suspended = True
