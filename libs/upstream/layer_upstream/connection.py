"""One connection: one request in flight, its deadlines, and what becomes of the socket after."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Final, Protocol, cast

from layer_kit.errors import LayerError
from layer_upstream.faults import closed, timed_out, too_large
from layer_upstream.limits import BODY_BYTES_MAX, FIRST_READ_BYTES, UpstreamLimits
from layer_upstream.outbox import PART_BYTES_MAX, Outbox
from layer_upstream.places import Places
from layer_upstream.plain import PlainHead, PlainReader
from layer_upstream.reader import ResponseReader
from layer_upstream.request import OutgoingRequest, Piece
from layer_upstream.response import BodyStream, UpstreamResponse, Waiter

SINGLE_WRITE_BYTES_MAX: Final = 64 * 1024
"""Up to here joining head and body is cheaper than handing over pieces, and than TLS records."""


NO_HEAD: Final = PlainHead(0, (), can_keep_alive=False)
NO_REQUEST: Final = OutgoingRequest(b"", (), 0, False, False, math.inf)  # noqa: FBT003 -- as all are


class Owner(Protocol):
    """What a connection tells the pool that made it."""

    def released(self, connection: Connection) -> None: ...
    def discarded(self, connection: Connection) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """A socket of the pool.

    ``read_buffer`` may be shared by all connections of a loop: the loop fills it and hands it to
    :meth:`buffer_updated` in one step, and what is kept is copied. The rest of a plain answer that
    did not come at once is received where it stays, in one of the ``places``.

    Attributes:
        has_answered: Whether a request has been answered on it already, so that it may have been
            closed at the other end since.
        was_unanswered: The last request failed because the connection ended before any byte of
            an answer, so that the upstream probably never saw it.
    """

    _transport: asyncio.Transport
    """From :meth:`connection_made` on, before which nobody has the connection."""

    def __init__(
        self,
        owner: Owner,
        origin: str,
        limits: UpstreamLimits,
        read_buffer: bytearray,
        places: Places,
    ) -> None:
        self._owner = owner
        self._origin = origin
        self._limits = limits
        self._buffer_bytes_max = limits.buffer_bytes_max
        self._read_buffer = memoryview(read_buffer)
        self._first_buffer = self._read_buffer[:FIRST_READ_BYTES]
        self._reader = ResponseReader(limits.header_bytes_max)
        self._plain_reader = PlainReader(read_buffer, places)
        self._places = places
        self._request = NO_REQUEST
        """What is asked now."""
        self._has_begun = False
        """Whether any byte of the answer has come."""
        self._is_reading = False
        """Whether the reader has what has come of the answer, since it is not plain."""
        self._head = NO_HEAD
        self._body: bytes | bytearray = b""
        self._place: memoryview | None = None
        """Where the rest of a plain answer goes."""
        self._loop = asyncio.get_running_loop()
        self._waiter: Waiter | None = None
        self._rest: BodyStream | None = None
        self._quiet_since_s = 0.0
        self._has_progressed = True
        self._unsent_bytes = 0
        self._outbox: Outbox | None = None
        """Of the large body that was sent last."""
        self.has_answered = False
        self.was_unanswered = False
        self.is_closed = False

    @property
    def is_busy(self) -> bool:
        return self._waiter is not None or self._rest is not None

    def send(self, request: OutgoingRequest) -> asyncio.Future[UpstreamResponse]:
        """Write a request and return the future of its answer.

        Cancelling the future gives the connection up; :meth:`discard` does so at once.
        """
        waiter: asyncio.Future[UpstreamResponse] = self._loop.create_future()
        self.ask(request, waiter)
        return waiter

    def ask(self, request: OutgoingRequest, waiter: Waiter) -> None:
        """Write a request for whose answer ``waiter`` waits; only on a connection that is idle."""
        self.write(request.head, request.body, request.body_bytes)
        self.expect(request, waiter)

    def write(self, head: bytes, body: Sequence[Piece], body_bytes: int) -> None:
        """Write a request; its answer is to be expected in the same turn of the loop."""
        if body_bytes <= SINGLE_WRITE_BYTES_MAX:
            self._transport.write(b"".join((head, *body)))
        elif body_bytes <= PART_BYTES_MAX:
            self._transport.writelines((head, *body))
        else:
            self._outbox = Outbox(self._transport, [head, *body], self._loop)
            self._outbox.send_next()

    def expect(self, request: OutgoingRequest, waiter: Waiter) -> None:
        """Have ``waiter`` told of the answer to a request that was written."""
        self._waiter = waiter
        self._request = request
        self._has_begun = False
        self._has_progressed = True

    def check_deadlines(self, now_s: float) -> None:
        """Fail the request, or close the idle connection, whose time is over."""
        if self.is_closed:
            return
        if not self.is_busy:  # as most are at most ticks
            if self._has_progressed:
                self._has_progressed = False
                self._quiet_since_s = now_s
            elif now_s - self._quiet_since_s >= self._limits.idle_timeout_s:
                self.discard()
            return
        if self._waiter is not None and self._waiter.cancelled():
            self.discard()
            return
        unsent_bytes = self._left_bytes()
        if self._has_progressed or unsent_bytes != self._unsent_bytes:
            self._has_progressed = False
            self._unsent_bytes = unsent_bytes
            self._quiet_since_s = now_s
        if self._waiter is not None and now_s >= self._request.deadline_s:
            self.fail(timed_out(self._origin, "answer"))
        elif now_s - self._quiet_since_s >= self._limits.read_timeout_s:
            self.fail(timed_out(self._origin, "send or take the next byte"))
        elif self._waiter is not None and self._is_trickling():
            self._hand_over_stream()

    def discard(self) -> None:
        """Close the socket at once, whatever is in flight."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._outbox is not None:
            self._outbox.abandon()
        self._waiter = None
        self._rest = None
        self._request = NO_REQUEST
        self._transport.abort()
        self._owner.discarded(self)

    def fail(self, error: LayerError) -> None:
        """Close the socket and let whoever waits for an answer know why."""
        waiter, rest = self._waiter, self._rest
        self.discard()
        if rest is not None:
            rest.end(error)
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def pause(self) -> None:
        if not self.is_closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        self._has_progressed = True
        if not self.is_closed:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        if self._outbox is not None:
            self._outbox.pause()

    def resume_writing(self) -> None:
        if self._outbox is not None:
            self._outbox.resume()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are ones by duck type only.
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._place is not None:
            return self._place
        return self._read_buffer if self._is_reading else self._first_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._has_progressed = True
        if self._waiter is None or self._has_begun:
            self._go_on(nbytes)
            return
        self._has_begun = True
        is_head = self._request.is_head
        plain = None if is_head else self._plain_reader.read(nbytes, self._buffer_bytes_max)
        if plain is None:
            self._reader.begin(is_head=is_head)
            self._is_reading = True
            self._read(nbytes)
            return
        head, body, place = plain
        if place is None:
            self._complete(head, body)
        else:
            self._head, self._body, self._place = plain

    def _go_on(self, nbytes: int) -> None:
        """Take more of an answer."""
        if not self.is_busy:
            # Nobody asked: a parting 408, or an answer that goes on. Either spoils what follows.
            self.discard()
            return
        if self._place is None:
            self._read(nbytes)
            return
        self._place = self._place[nbytes:] or None
        if self._place is None:
            body, self._body = self._body, b""
            self._complete(self._head, body)

    def _complete(self, head: PlainHead, body: bytes | bytearray) -> None:
        """Hand over a plain answer."""
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            self.discard()
            return
        try:
            waiter.set_result(
                UpstreamResponse(head.status, head.headers, (body,), None, self._places)
            )
        finally:
            self._retire(head.can_keep_alive)  # for which nobody need wait

    def _read(self, nbytes: int) -> None:
        """Let the reader have what has come, and hand over what is due."""
        try:
            self._reader.feed(self._read_buffer[:nbytes])
        except LayerError as error:
            self.fail(error)
        else:
            self._deliver()

    def eof_received(self) -> bool:
        # Only here, since a TLS connection that is cut, and not closed, is lost without it.
        if self.is_busy and self._is_reading:
            self._reader.feed_eof()
            if self._reader.is_complete:
                self._deliver()
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if self.is_busy:
            self.was_unanswered = not self._has_begun
            when = "in the middle of its answer" if self._has_begun else "unanswered"
            self.fail(closed(self._origin, when))
        self.discard()

    def _deliver(self) -> None:
        """Hand over what is due after some input."""
        reader = self._reader
        if self._waiter is not None and self._waiter.cancelled():
            self.discard()
        elif self._rest is not None:
            self._rest.push(reader.take_body())
            if reader.is_complete:
                self._end_stream(self._rest)
        elif reader.is_complete:
            answer = UpstreamResponse(reader.status, reader.headers, reader.take_parts())
            waiter, self._waiter = self._waiter, None
            self._retire(reader.can_keep_alive)
            _resolve(waiter, answer)
        elif reader.status:
            expected_bytes = max(reader.body_bytes, reader.declared_bytes or 0)
            if self._request.is_streaming_allowed:
                if expected_bytes > self._limits.buffer_bytes_max:
                    self._hand_over_stream()
            elif expected_bytes > BODY_BYTES_MAX:
                self.fail(too_large(BODY_BYTES_MAX))

    def _is_trickling(self) -> bool:
        """Tell whether what has come so far is of use to the caller now: nobody knows the rest."""
        reader = self._reader
        return (
            self._request.is_streaming_allowed
            and self._is_reading
            and reader.status > 0
            and reader.declared_bytes is None
        )

    def _hand_over_stream(self) -> None:
        reader = self._reader
        self._rest = rest = BodyStream(self, self._limits.buffer_bytes_max)
        waiter, self._waiter = self._waiter, None
        _resolve(waiter, UpstreamResponse(reader.status, reader.headers, reader.take_parts(), rest))

    def _end_stream(self, rest: BodyStream) -> None:
        self._rest = None
        if rest.is_paused:
            self.resume()
        rest.end()
        self._retire(self._reader.can_keep_alive)

    def _left_bytes(self) -> int:
        """Return how much of the request has not left for the upstream."""
        waiting_bytes = 0 if self._outbox is None else self._outbox.left_bytes
        return self._transport.get_write_buffer_size() + waiting_bytes

    def _retire(self, can_keep_alive: bool) -> None:  # noqa: FBT001 -- all it is asked
        """Return to the pool if another request may follow on this socket."""
        self.has_answered = True
        self._is_reading = False
        self._request = NO_REQUEST
        # An answer that came before the whole request was sent leaves its tail in the way.
        if can_keep_alive and not self.is_closed and not self._left_bytes():
            self._outbox = None
            self._owner.released(self)
        else:
            self.discard()


def _resolve(waiter: Waiter | None, answer: UpstreamResponse) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(answer)
