"""Lookups in one cache, over a call that stays open.

Beginning and ending a call costs both sides more than a lookup does, so that one over the stream
takes half of the CPU. Whoever asks while a message is on its way goes with the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Final

import grpc.aio

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_kit.errors import DeadlineError, LayerError, UnavailableError, UnsupportedError
from layer_kit.rpc.client import invoke
from layer_kit.rpc.context import request_id
from layer_kit.rpc.errors import from_rpc_error, from_status
from layer_kit.telemetry.traces import is_recorded

STREAMED_IDS_MAX: Final = 512
"""A lookup of more goes by itself, so that its answer holds up no other."""

MESSAGE_LOOKUPS_MAX: Final = 32
NOT_OFFERED_S: Final = 60.0
"""A cache that is too old for streams is asked without one for so long."""


class LookupStream:
    """Asks one cache for rows.

    The stream is opened by the first lookup, and by the first after one has ended. When it ends,
    the lookups that wait for their answers fail as calls on a broken connection do.
    """

    def __init__(self, stub: cache_pb2_grpc.CacheServiceStub) -> None:
        self._stub = stub
        self._open: _OpenStream | None = None
        self._offered_from_s = 0.0

    async def __call__(
        self, request: cache_pb2.LookupRowsRequest, *, timeout_s: float
    ) -> cache_pb2.LookupRowsResponse:
        """Look rows up.

        Raises:
            LayerError: What the cache raised, or ``UnavailableError`` when it cannot be reached.
        """
        loop = asyncio.get_running_loop()
        # A call of its own has a span of its own in its trace.
        if (
            len(request.ids) > STREAMED_IDS_MAX
            or is_recorded()
            or loop.time() < self._offered_from_s
        ):
            return await invoke(self._stub.LookupRows, request, timeout_s=timeout_s)
        stream = self._open
        if stream is None or stream.has_ended:
            stream = self._open = _OpenStream(self._stub.StreamLookups())
        try:
            async with asyncio.timeout(timeout_s):
                return await stream.look_up(request, timeout_s)
        except TimeoutError as error:
            raise DeadlineError("DEADLINE_EXCEEDED", "The cache did not answer in time.") from error
        except UnsupportedError:
            self._offered_from_s = loop.time() + NOT_OFFERED_S
        return await invoke(self._stub.LookupRows, request, timeout_s=timeout_s)

    async def close(self) -> None:
        """End the stream."""
        if self._open is not None:
            await self._open.close()


class _OpenStream:
    """One call, from its beginning to its end."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._waiting: list[cache_pb2.NumberedLookup] = []
        self._answers: dict[int, asyncio.Future[cache_pb2.LookupRowsResponse]] = {}
        self._number = 0
        self._writing: asyncio.Task[None] | None = None
        self._reading = _apart(self._read)

    @property
    def has_ended(self) -> bool:
        return self._reading.done()

    async def look_up(
        self, request: cache_pb2.LookupRowsRequest, timeout_s: float
    ) -> cache_pb2.LookupRowsResponse:
        self._number += 1
        number = self._number
        self._waiting.append(
            cache_pb2.NumberedLookup(
                lookup_number=number,
                timeout_ms=int(timeout_s * 1000),
                request_id=request_id.get(),
                lookup=request,
            )
        )
        answer: asyncio.Future[cache_pb2.LookupRowsResponse]
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        if self._writing is None:
            self._writing = _apart(self._write)
        try:
            return await answer
        finally:
            del self._answers[number]

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.wait({self._reading})

    async def _write(self) -> None:
        """Send what waits, and what comes meanwhile."""
        try:
            while self._waiting:
                # Those that nobody waits for any more stay here.
                lookups = [one for one in self._waiting if one.lookup_number in self._answers]
                self._waiting = lookups[MESSAGE_LOOKUPS_MAX:]
                if lookups:
                    message = cache_pb2.StreamLookupsRequest(lookups=lookups[:MESSAGE_LOOKUPS_MAX])
                    await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended; who reads is told why
        finally:
            self._writing = None

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
            for waiting in self._answers.values():
                if not waiting.done():
                    waiting.set_exception(ended)

    def _hand_out(self, answer: cache_pb2.NumberedAnswer) -> None:
        waiting = self._answers.get(answer.lookup_number)
        if waiting is None or waiting.done():
            return
        if answer.WhichOneof("outcome") == "found":
            waiting.set_result(answer.found)
        else:
            waiting.set_exception(from_status(answer.status))


def _apart(work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """Begin what belongs to no request, and so to no trace."""
    return asyncio.get_running_loop().create_task(work(), context=Context())
