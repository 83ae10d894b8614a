"""Lookups in one cache, over a call that stays open.

Beginning and ending a call costs both sides more than a lookup does, so that one over the stream
takes half of the CPU. Whoever asks while a message is on its way goes with the next one. A lookup
has neither a task nor a timer of its own: they would cost more than all the rest of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from itertools import takewhile
from typing import Any, Final, NamedTuple

import grpc.aio

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_kit.eager import begin
from layer_kit.errors import DeadlineError, LayerError, UnavailableError, UnsupportedError
from layer_kit.lost_errors import report_lost
from layer_kit.rpc.client import invoke
from layer_kit.rpc.context import request_id
from layer_kit.rpc.errors import from_rpc_error, from_status
from layer_kit.telemetry.traces import is_recorded

STREAMED_IDS_MAX: Final = 512
"""A lookup of more goes by itself, so that its answer holds up no other."""

MESSAGE_LOOKUPS_MAX: Final = 32
WAITING_MAX: Final = 1024
"""Lookups that wait for a message to be taken; further ones are refused at once."""

NOT_OFFERED_S: Final = 60.0
"""A cache that is too old for streams is asked without one for so long."""

Tell = Callable[[cache_pb2.LookupRowsResponse | BaseException], None]
"""Told of the answer or the error of a lookup, once."""


class LookupStream:
    """Asks one cache for rows.

    The stream is opened by the first lookup, and by the first after one has ended. When it ends,
    the lookups that wait for their answers fail as calls on a broken connection do.

    Args:
        timeout_s: The deadline of every lookup.
    """

    def __init__(self, stub: cache_pb2_grpc.CacheServiceStub, *, timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s
        self._open: _OpenStream | None = None
        self._calls: set[asyncio.Task[cache_pb2.LookupRowsResponse]] = set()
        self._offered_from_s = 0.0

    def __call__(self, request: cache_pb2.LookupRowsRequest, tell: Tell) -> None:
        """Look rows up, and ``tell`` of them, at once or later.

        An error is what the cache raised, or ``UnavailableError`` when it cannot be reached.
        """
        # A call of its own has a span of its own in its trace.
        if (
            len(request.ids) > STREAMED_IDS_MAX
            or is_recorded()
            or asyncio.get_running_loop().time() < self._offered_from_s
        ):
            self._call(request, tell)
            return
        stream = self._open
        if stream is None or stream.has_ended:
            stream = self._open = _OpenStream(self._stub.StreamLookups(), self._timeout_s)
        stream.look_up(request, partial(self._streamed, request, tell))

    async def close(self) -> None:
        """End the stream."""
        if self._open is not None:
            await self._open.close()

    def _streamed(
        self,
        request: cache_pb2.LookupRowsRequest,
        tell: Tell,
        outcome: cache_pb2.LookupRowsResponse | BaseException,
    ) -> None:
        if isinstance(outcome, UnsupportedError):
            self._offered_from_s = asyncio.get_running_loop().time() + NOT_OFFERED_S
            self._call(request, tell)
        else:
            tell(outcome)

    def _call(self, request: cache_pb2.LookupRowsRequest, tell: Tell) -> None:
        """Ask by a call of its own."""

        def ended(call: asyncio.Task[cache_pb2.LookupRowsResponse]) -> None:
            self._calls.discard(call)
            if call.cancelled():
                tell(UnavailableError("LOOKUP_CANCELLED", "The lookup was cancelled."))
            else:
                tell(call.exception() or call.result())

        call = asyncio.get_running_loop().create_task(
            invoke(self._stub.LookupRows, request, timeout_s=self._timeout_s)
        )
        self._calls.add(call)
        call.add_done_callback(ended)


class _Asked(NamedTuple):
    """A lookup whose answer is waited for."""

    due_s: float
    tell: Tell


class _OpenStream:
    """One call, from its beginning to its end."""

    def __init__(self, call: Any, timeout_s: float) -> None:
        self._call = call
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self.has_ended = False
        self._waiting: list[cache_pb2.NumberedLookup] = []
        self._asked: dict[int, _Asked] = {}
        """By number, and so in the order in which they are due."""
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._writing: asyncio.Task[None] | None = None
        self._is_writing = False
        # What follows belongs to no request, and so to no trace.
        self._reading = self._loop.create_task(self._read(), context=Context())
        self._reading.add_done_callback(report_lost)

    def look_up(self, request: cache_pb2.LookupRowsRequest, tell: Tell) -> None:
        if len(self._waiting) >= WAITING_MAX:
            tell(UnavailableError("LOOKUPS_WAITING", "The cache takes no further lookups."))
            return
        self._number += 1
        due_s = self._loop.time() + self._timeout_s
        self._asked[self._number] = _Asked(due_s, tell)
        self._waiting.append(
            cache_pb2.NumberedLookup(
                lookup_number=self._number,
                timeout_ms=int(self._timeout_s * 1000),
                request_id=request_id.get(),
                lookup=request,
            )
        )
        if self._timer is None:
            self._timer = self._loop.call_at(due_s, self._expire)
        if not self._is_writing:
            self._is_writing = True
            self._writing = begin(self._write(), context=Context())
            if self._writing is not None:
                self._writing.add_done_callback(report_lost)

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.wait({self._reading})

    async def _write(self) -> None:
        """Send what waits, and what comes meanwhile."""
        try:
            while self._waiting:
                # Those that nobody waits for any more stay here.
                lookups = [one for one in self._waiting if one.lookup_number in self._asked]
                self._waiting = lookups[MESSAGE_LOOKUPS_MAX:]
                if lookups:
                    message = cache_pb2.StreamLookupsRequest(lookups=lookups[:MESSAGE_LOOKUPS_MAX])
                    await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended; who reads is told why
        finally:
            self._is_writing = False

    async def _read(self) -> None:
        """Hand out answers; at the end of the call fail whoever waits for one."""
        ended: LayerError = UnavailableError("STREAM_ENDED", "The stream of lookups ended.")
        try:
            while (message := await self._call.read()) is not grpc.aio.EOF:
                for answer in message.answers:
                    self._hand_out(answer)
        except grpc.aio.AioRpcError as error:
            ended = from_rpc_error(error)
        finally:
            self.has_ended = True
            if self._timer is not None:
                self._timer.cancel()
            _fail(self._asked.values(), ended)

    def _hand_out(self, answer: cache_pb2.NumberedAnswer) -> None:
        asked = self._asked.pop(answer.lookup_number, None)
        if asked is None:
            return
        if answer.WhichOneof("outcome") == "found":
            asked.tell(answer.found)
        else:
            asked.tell(from_status(answer.status))

    def _expire(self) -> None:
        """Fail the lookups that are due; the first of the others sets the time of the next look."""
        now_s = self._loop.time()
        due = list(takewhile(lambda number: self._asked[number].due_s <= now_s, self._asked))
        expired = [self._asked.pop(number) for number in due]
        self._waiting = [one for one in self._waiting if one.lookup_number in self._asked]
        first = next(iter(self._asked.values()), None)
        self._timer = first and self._loop.call_at(first.due_s, self._expire)
        _fail(expired, DeadlineError("DEADLINE_EXCEEDED", "The cache did not answer in time."))


def _fail(lookups: Iterable[_Asked], error: LayerError) -> None:
    for asked in lookups:
        asked.tell(error)
