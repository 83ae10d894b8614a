"""The socket under a connection: frames in, bytes out, signs of life, and its end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final, cast

from layer_kit.errors import LayerError, UnavailableError
from layer_streams import frames
from layer_streams.faults import ConnectionFaultError, Fault
from layer_streams.limits import (
    FRAME_BYTES_MAX,
    HANDSHAKE_S_MAX,
    KEEPALIVE_ANSWER_S_MAX,
    LINGER_S_MAX,
    REPLIES_UNREAD_MAX,
    TICK_S,
)

_PING: Final = frames.frame(frames.PING, 0, 0, b"layer-ka")


class Link(asyncio.Protocol, ABC):
    """One socket that speaks frames.

    Args:
        preface: What the peer must begin with.
        keepalive_s: How long it may stay silent before it is asked for a sign of life.
    """

    def __init__(self, *, preface: bytes, keepalive_s: float) -> None:
        self.is_full = False
        self.is_ending = False
        self.has_settings = False
        """Whether the peer has told its settings, which it must do first."""
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._awaited_preface = preface
        self._frames = frames.FrameReader(FRAME_BYTES_MAX)
        self._unread_replies = 0
        self._keepalive_s = keepalive_s
        self._begun_s = self._heard_s = self.loop.time()
        self._asked_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection has ended."""
        if self._transport is not None and not self.is_ending:
            self._transport.write(data)

    def reply(self, data: bytes) -> None:
        """Answer what the peer may send without bound, as long as it reads the answers.

        Raises:
            ConnectionFaultError: When it does not.
        """
        self._unread_replies += self.is_full
        if self._unread_replies > REPLIES_UNREAD_MAX:
            raise ConnectionFaultError(Fault.ENHANCE_YOUR_CALM, "too much that asks for an answer")
        self.write(data)

    def leave(
        self, fault: Fault = Fault.NO_ERROR, text: str = "The connection was closed."
    ) -> None:
        """End the connection, and tell the peer why."""
        if self.is_ending:
            return
        self.write(frames.goaway(self.last_stream_id, fault, text))
        self.is_ending = True
        self.close_streams(UnavailableError("STREAM_BROKEN", text))
        if self._transport is not None:
            self._transport.close()
            self.loop.call_later(LINGER_S_MAX, self._transport.abort)

    @property
    @abstractmethod
    def last_stream_id(self) -> int:
        """The last stream that the peer has begun."""

    @property
    @abstractmethod
    def has_stuck(self) -> bool:
        """Whether the peer has made no room for a message for too long."""

    @abstractmethod
    def made(self) -> None:
        """Learn that the connection stands."""

    @abstractmethod
    def take_lone_message(self, stream_id: int, data: bytes) -> bool:
        """Take a message that came in a frame of its own, where nothing stands against it."""

    @abstractmethod
    def take(self, received: frames.Frame) -> None:
        """Take a frame."""

    @abstractmethod
    def go_on(self) -> None:
        """Learn that there may be room for what waits."""

    @abstractmethod
    def close_streams(self, error: LayerError) -> None:
        """End every stream without a word to the peer."""

    @abstractmethod
    def lost(self) -> None:
        """Learn that the connection is gone, once."""

    # What follows is called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._timer = self.loop.call_later(TICK_S, self._tick)
        self.made()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.is_ending = True
        self.close_streams(UnavailableError("STREAM_BROKEN", f"The connection broke: {exc}."))
        self.lost()

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._unread_replies = 0
        self.go_on()

    def data_received(self, data: bytes) -> None:
        self._heard_s = self.loop.time()
        if (
            self.has_settings
            and self._frames.is_between
            and (stream_id := frames.lone_message(data))
            and self.take_lone_message(stream_id, data)
        ):
            return  # as nearly all data comes, for a third of what the general way takes
        try:
            if self._awaited_preface:
                data = self._without_preface(data)
            for received in self._frames.read(data):
                if self.is_ending:
                    return
                self._check_order(received)
                self.take(received)
        except ConnectionFaultError as fault:
            self.leave(fault.fault, f"The peer broke the protocol: {fault}.")

    def _check_order(self, received: frames.Frame) -> None:
        if not self.has_settings and received.kind != frames.SETTINGS:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "no settings at first")

    def _without_preface(self, data: bytes) -> bytes:
        awaited = self._awaited_preface
        if data[: len(awaited)] != awaited[: len(data)]:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "this is no HTTP/2")
        self._awaited_preface = awaited[len(data) :]
        return data[len(awaited) :]

    def _tick(self) -> None:
        """Look at every deadline; a timer for each would cost more than it is worth."""
        self._timer = self.loop.call_later(TICK_S, self._tick)
        now_s = self.loop.time()
        if not self.has_settings and now_s - self._begun_s > HANDSHAKE_S_MAX:
            self.leave(Fault.SETTINGS_TIMEOUT, "The peer sent no settings.")
        elif self.has_stuck:
            self.leave(Fault.ENHANCE_YOUR_CALM, "The peer made no room for a message.")
        elif self._asked_s is None:
            if now_s - self._heard_s > self._keepalive_s:
                self._asked_s = now_s
                self.write(_PING)
        elif self._heard_s >= self._asked_s:
            self._asked_s = None
        elif now_s - self._asked_s > KEEPALIVE_ANSWER_S_MAX:
            self.leave(Fault.NO_ERROR, "The peer gave no sign of life.")
