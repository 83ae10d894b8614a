"""An answer of the upstream: whole, or its beginning and a stream of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from layer_kit.errors import LayerError
from layer_upstream.faults import too_large
from layer_upstream.headers import Header
from layer_upstream.places import Places


class BodySource(Protocol):
    """The connection that a streamed body comes from."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def discard(self) -> None: ...


class BodyStream:
    """What one connection reads and one consumer takes, with at most a little in between."""

    def __init__(self, source: BodySource, held_bytes_max: int) -> None:
        self._source: BodySource | None = source
        self._held_bytes_max = held_bytes_max
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._error: LayerError | None = None
        self._wake: asyncio.Future[None] | None = None
        self.is_paused = False

    def push(self, data: bytes) -> None:
        """Hold ``data`` for the consumer; ask the source to pause when that is enough."""
        if not data:
            return
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= self._held_bytes_max and not self.is_paused and self._source:
            self.is_paused = True
            self._source.pause()
        self._wake_consumer()

    def end(self, error: LayerError | None = None) -> None:
        """Let the consumer have what is held, and then the end or ``error``."""
        self._source = None
        self._error = error
        self._wake_consumer()

    def abandon(self) -> None:
        """Close the connection unless the body has been read to its end."""
        if source := self._source:
            self.end()
            source.discard()

    async def take(self) -> bytes:
        """Return what has come since the last call, waiting for some; empty at the end.

        Raises:
            LayerError: Why the body ends before its end.
        """
        while not self._held:
            if self._source is None:
                if self._error is not None:
                    raise self._error
                return b""
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        data = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        if self.is_paused:
            self.is_paused = False
            if self._source is not None:
                self._source.resume()
        return data

    def _wake_consumer(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class UpstreamResponse(msgspec.Struct, eq=False):
    """One answer.

    Attributes:
        headers: In the order received, names in lower case, without what ends at this hop and,
            but for an answer to HEAD, without ``content-length``. Answers that say the same share
            one sequence. ``content-encoding`` and the body are as the upstream sent them.
        parts: The whole body when ``is_complete``, else only its beginning, in the pieces in which
            it came: relaying them saves a copy.
    """

    status: int
    headers: Sequence[Header]
    parts: Sequence[bytes | bytearray]
    _rest: BodyStream | None = None
    _places: Places | None = None

    @property
    def is_complete(self) -> bool:
        """False only for a streamed answer; :meth:`iter_body` then gives the rest."""
        return self._rest is None

    @property
    def body(self) -> bytes:
        """The ``parts`` as one."""
        parts = self.parts
        if len(parts) == 1 and isinstance(whole := parts[0], bytes):
            return whole
        whole = b"".join(parts)
        self.parts = (whole,)
        return whole

    def passed_on(self) -> None:
        """Have the memory of the body used again: all of it was sent to somebody."""
        parts, self.parts = self.parts, ()
        if self._places is not None:
            for part in parts:
                if isinstance(part, bytearray):
                    self._places.give_back(part)

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of ``name``, which must be in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    async def iter_body(self) -> AsyncIterator[bytes]:
        """Yield what follows ``body``: nothing for a complete answer.

        Leaving the iteration early closes the connection.

        Raises:
            UpstreamError: ``UPSTREAM_CLOSED`` or ``UPSTREAM_PROTOCOL_ERROR`` in the middle.
            DeadlineError: ``UPSTREAM_TIMEOUT`` after too long a silence of either side.
        """
        if self._rest is None:
            return
        try:
            while data := await self._rest.take():
                yield data
        finally:
            self._rest.abandon()

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body, streamed or not.

        Raises:
            UpstreamError: ``UPSTREAM_RESPONSE_TOO_LARGE`` beyond ``limit_bytes``, and whatever
                :meth:`iter_body` raises.
        """
        pieces = [self.body]
        size_bytes = len(self.body)
        try:
            if size_bytes > limit_bytes:
                raise too_large(limit_bytes)
            while self._rest is not None and (data := await self._rest.take()):
                pieces.append(data)
                size_bytes += len(data)
                if size_bytes > limit_bytes:
                    raise too_large(limit_bytes)
        finally:
            await self.aclose()
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Give up what has not been read; closes the connection in that case. Idempotent."""
        if self._rest is not None:
            self._rest.abandon()


class Waiter(Protocol):
    """Who waits for an answer: a future, or somebody who acts in the turn in which it comes."""

    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def set_result(self, result: UpstreamResponse, /) -> None: ...
    def set_exception(self, exception: LayerError, /) -> None: ...
