"""One stream of messages, as either side sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Final, Protocol

from layer_kit.errors import LayerError, MalformedRequestError
from layer_kit.rpc.limits import MESSAGE_BYTES_MAX
from layer_streams import frames
from layer_streams.faults import ConnectionFaultError, Fault
from layer_streams.limits import STREAM_WINDOW_BYTES
from layer_streams.messages import HEAD, HEAD_BYTES, MessageReader

_ROOM_STEP_BYTES: Final = STREAM_WINDOW_BYTES // 2
"""Told of in steps, so that most messages need no word about it."""


class Listener(Protocol):
    """Hears of what happens to a stream. Nothing is heard after its end."""

    def received(self, message: bytes) -> None:
        """Take a message."""

    def writable(self) -> None:
        """Learn that messages may be sent again, or for the first time."""

    def finished(self) -> None:
        """Learn that the peer sends no further message."""

    def ended(self, error: LayerError | None) -> None:
        """Learn of the end; without an error when the call went well."""


class Way(Protocol):
    """What a stream needs of its connection."""

    window_bytes: int
    """What the peer takes on all streams together."""
    frame_bytes_max: int
    is_full: bool
    """Whether the socket takes nothing for now."""

    def write(self, data: bytes) -> None: ...

    def forget(self, stream_id: int) -> None: ...


class MessageStream:
    """A stream on a connection, over which messages go both ways.

    Args:
        context: What is heard of the stream is heard in it.
    """

    listener: Listener

    def __init__(self, way: Way, stream_id: int, *, window_bytes: int, context: Context) -> None:
        self.id = stream_id
        self.window_bytes = window_bytes
        """What the peer takes on this stream."""
        self.has_ended = False
        self.is_shut = False
        """Whether no message may be sent though there is room."""
        self._way = way
        self._context = context
        self._is_telling = False
        self._reader = MessageReader()
        self._arrived: deque[bytes] = deque()
        self._room_bytes = STREAM_WINDOW_BYTES
        self._owed_bytes = 0
        self._is_held = False
        self._is_delivering = False
        self.has_peer_finished = False
        self._is_finish_told = False
        self._unsent = memoryview(b"")
        self.stuck_since_s: float | None = None
        """Since when a message waits for room."""

    @property
    def is_writable(self) -> bool:
        """Whether :meth:`send` may be called."""
        return not (self._unsent or self.has_ended or self.is_shut or self._way.is_full)

    def send(self, message: bytes) -> None:
        """Send a message; what the peer has no room for follows when it has.

        Raises:
            RuntimeError: When the stream is not writable.
            ValueError: When the message is larger than any may be.
        """
        way = self._way
        if self._unsent or self.has_ended or self.is_shut or way.is_full:
            raise RuntimeError("the stream takes no message now")
        size = len(message)
        whole = size + HEAD_BYTES
        if (
            whole <= self.window_bytes
            and whole <= way.window_bytes
            and whole <= way.frame_bytes_max
        ):
            self.window_bytes -= whole
            way.window_bytes -= whole
            way.write(frames.message_frame(self.id, message))
            return
        if size > MESSAGE_BYTES_MAX:
            raise ValueError(f"a message of {size} bytes")
        self._unsent = memoryview(HEAD.pack(0, size) + message)
        self.stuck_since_s = asyncio.get_running_loop().time()
        self._send_rest()

    def hold(self) -> None:
        """Hear of no further message; the peer runs out of room."""
        self._is_held = True

    def resume(self) -> None:
        """Hear of messages again."""
        if self._is_held:
            self._is_held = False
            self._deliver()

    def reset(self, fault: Fault, error: LayerError | None) -> None:
        """End the stream at once, and tell the peer."""
        if not self.has_ended:
            self._way.write(frames.reset(self.id, fault))
            self.close(error)

    # What follows is for the connection.

    def tell(self, what: Callable[..., None], *arguments: object) -> None:
        """Call a method of the listener, which may be within another one."""
        if self._is_telling:
            what(*arguments)
            return
        self._is_telling = True
        try:
            self._context.run(what, *arguments)
        finally:
            self._is_telling = False

    def take_lone_message(self, data: bytes) -> bool:
        """Take a frame that is a message, unless something has to be looked at before."""
        size = len(data) - frames.HEAD_BYTES
        if (
            self._owed_bytes + size >= _ROOM_STEP_BYTES
            or self._arrived
            or self._is_held
            or self._is_delivering
            or self.has_peer_finished
            or not self._reader.is_between
        ):
            return False
        self._room_bytes -= size
        self._owed_bytes += size
        self.tell(self.listener.received, data[frames.MESSAGE_HEAD_BYTES :])
        return True

    def take(self, received: frames.Frame) -> None:
        """Take a frame of data.

        Raises:
            ConnectionFaultError: When it is more than there was room for.
        """
        self._room_bytes -= len(received.payload)
        if self._room_bytes < 0:
            raise ConnectionFaultError(Fault.FLOW_CONTROL_ERROR, "more data than there is room for")
        if self.has_peer_finished:
            self.reset(Fault.STREAM_CLOSED, _broken("The peer sent data after its last."))
            return
        self._owed_bytes += len(received.payload)
        try:
            self._arrived += self._reader.read(frames.without_padding(received))
        except LayerError as error:
            self.refuse(error)
            return
        self.has_peer_finished = bool(received.flags & frames.END_STREAM)
        self._deliver()

    def refuse(self, error: LayerError) -> None:
        """End the stream because of what the peer sent."""
        self.reset(Fault.CANCEL, error)

    def peer_finished(self) -> None:
        """Learn that the peer sends no more."""
        self.has_peer_finished = True
        self._deliver()

    def make_room(self, size: int) -> None:
        """Let ``size`` further bytes be sent; fewer where it is negative.

        Raises:
            ConnectionFaultError: When that is more than a window may be.
        """
        self.window_bytes += size
        if self.window_bytes > frames.WINDOW_BYTES_MAX:
            raise ConnectionFaultError(Fault.FLOW_CONTROL_ERROR, "too large a window")
        self.go_on()

    def go_on(self) -> None:
        """Send what waits, now that there may be room."""
        if self.has_ended:
            return
        if self._unsent:
            self._send_rest()
        if self.is_writable:
            self.tell(self.listener.writable)

    def close(self, error: LayerError | None) -> None:
        """End the stream without a word to the peer."""
        if self.has_ended:
            return
        self.has_ended = True
        self._way.forget(self.id)
        self.drop_unsent()
        self._arrived.clear()
        self.tell(self.listener.ended, error)

    def drop_unsent(self) -> None:
        """Forget the message that waits for room."""
        self._unsent = memoryview(b"")
        self.stuck_since_s = None

    def _send_rest(self) -> None:
        way = self._way
        while self._unsent and not way.is_full:
            room = min(self.window_bytes, way.window_bytes, way.frame_bytes_max)
            if room <= 0:
                return
            piece, self._unsent = self._unsent[:room], self._unsent[room:]
            self.window_bytes -= len(piece)
            way.window_bytes -= len(piece)
            way.write(frames.frame(frames.DATA, 0, self.id, bytes(piece)))
        if not self._unsent:
            self.stuck_since_s = None

    def _deliver(self) -> None:
        if self._is_delivering:
            return  # by whoever hears of a message now
        self._is_delivering = True
        try:
            while self._arrived and not (self._is_held or self.has_ended):
                self.tell(self.listener.received, self._arrived.popleft())
        finally:
            self._is_delivering = False
        if self._is_held or self.has_ended:
            return
        if self._owed_bytes >= _ROOM_STEP_BYTES and not self.has_peer_finished:
            self._way.write(frames.window_update(self.id, self._owed_bytes))
            self._room_bytes += self._owed_bytes
            self._owed_bytes = 0
        if self.has_peer_finished and not self._is_finish_told:
            self._is_finish_told = True
            if self._reader.is_between:
                self.tell(self.listener.finished)
            else:
                self.refuse(_broken("The peer ended within a message."))


def _broken(text: str) -> LayerError:
    return MalformedRequestError("STREAM_MALFORMED", text)
