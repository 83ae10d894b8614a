"""A connection of HTTP/2, as far as both sides are alike: settings, windows, header lists."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from layer_kit.errors import LayerError
from layer_kit.rpc.errors import from_trailers
from layer_streams import frames
from layer_streams.faults import ConnectionFaultError, Fault, status_of_reset
from layer_streams.headers import HeaderReader, Headers, HeaderWriter
from layer_streams.limits import (
    CONNECTION_WINDOW_BYTES,
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    HEADER_FRAMES_MAX,
    SEND_S_MAX,
    STREAM_WINDOW_BYTES,
)
from layer_streams.link import Link
from layer_streams.stream import MessageStream

_ROOM_STEP_BYTES: Final = CONNECTION_WINDOW_BYTES // 2
_SETTINGS: Final = {
    frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
    frames.MAX_FRAME_SIZE: FRAME_BYTES_MAX,
    frames.MAX_HEADER_LIST_SIZE: HEADER_BYTES_MAX,
}
_MORE_ROOM: Final = frames.window_update(0, CONNECTION_WINDOW_BYTES - frames.WINDOW_BYTES_DEFAULT)

Stream = TypeVar("Stream", bound=MessageStream)


class Connection(Link, Generic[Stream]):
    """One connection and its streams."""

    def __init__(self, *, preface: bytes, keepalive_s: float) -> None:
        super().__init__(preface=preface, keepalive_s=keepalive_s)
        self.window_bytes = frames.WINDOW_BYTES_DEFAULT
        self.frame_bytes_max = frames.FRAME_BYTES_DEFAULT
        self.stream_window_bytes = frames.WINDOW_BYTES_DEFAULT
        """What the peer takes on a stream that begins."""
        self.streams: dict[int, Stream] = {}
        self.headers = HeaderWriter()
        self._header_reader = HeaderReader()
        self._block: _HeaderBlock | None = None
        self._room_bytes = CONNECTION_WINDOW_BYTES
        self._takers: Mapping[int, Callable[[frames.Frame], None]] = {
            frames.DATA: self._take_data,
            frames.HEADERS: self._take_headers,
            frames.RST_STREAM: self._take_reset,
            frames.SETTINGS: self._take_settings,
            frames.PUSH_PROMISE: self._take_push,
            frames.PING: self._take_ping,
            frames.GOAWAY: self._take_goaway,
            frames.WINDOW_UPDATE: self._take_window_update,
            frames.CONTINUATION: self._take_continuation,
        }

    def introduce(self, settings: Mapping[int, int]) -> None:
        """Send our settings, ``settings`` beside those that both sides have."""
        self.write(frames.settings({**_SETTINGS, **settings}) + _MORE_ROOM)

    def forget(self, stream_id: int) -> None:
        """Let go of a stream that has ended."""
        self.streams.pop(stream_id, None)

    @property
    def has_stuck(self) -> bool:
        due_s = self.loop.time() - SEND_S_MAX
        stuck = (stream.stuck_since_s for stream in self.streams.values())
        return any(since_s is not None and since_s < due_s for since_s in stuck)

    @property
    @abstractmethod
    def begun_stream_id(self) -> int:
        """The last stream that was begun, by either side."""

    @abstractmethod
    def take_fields(self, stream_id: int, fields: Headers, *, is_last: bool) -> None:
        """Take the headers or the trailers of a stream."""

    @abstractmethod
    def peer_leaves(self, last_stream_id: int) -> None:
        """Learn that the peer takes no stream after ``last_stream_id``."""

    def go_on(self) -> None:
        for stream in list(self.streams.values()):
            stream.go_on()

    def close_streams(self, error: LayerError) -> None:
        for stream in list(self.streams.values()):
            stream.close(error)

    def take_lone_message(self, stream_id: int, data: bytes) -> bool:
        stream = self.streams.get(stream_id)
        room_bytes = self._room_bytes - len(data)
        if stream is None or room_bytes <= _ROOM_STEP_BYTES or self._block is not None:
            return False
        if not stream.take_lone_message(data):
            return False
        self._room_bytes = room_bytes + frames.HEAD_BYTES
        return True

    def take(self, received: frames.Frame) -> None:
        kind = received.kind
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "headers that do not go on")
        if (taker := self._takers.get(kind)) is not None:
            taker(received)  # what is of another kind is to be ignored

    def _take_data(self, received: frames.Frame) -> None:
        self._room_bytes -= len(received.payload)
        if self._room_bytes < 0:
            raise ConnectionFaultError(Fault.FLOW_CONTROL_ERROR, "more data than there is room for")
        if self._room_bytes <= _ROOM_STEP_BYTES:
            self.write(frames.window_update(0, CONNECTION_WINDOW_BYTES - self._room_bytes))
            self._room_bytes = CONNECTION_WINDOW_BYTES
        if (stream := self._stream(received)) is not None:
            stream.take(received)

    def _stream(self, received: frames.Frame) -> Stream | None:
        """Return the stream of a frame, None when it has ended.

        Raises:
            ConnectionFaultError: When it has not begun.
        """
        stream = self.streams.get(received.stream_id)
        if stream is None and not 0 < received.stream_id <= self.begun_stream_id:
            raise ConnectionFaultError(
                Fault.PROTOCOL_ERROR, "a frame of a stream that has not begun"
            )
        return stream

    def _take_headers(self, received: frames.Frame) -> None:
        is_last = bool(received.flags & frames.END_STREAM)
        self._block = _HeaderBlock(received.stream_id, is_last=is_last)
        self._add(self._block, received, frames.without_padding(received))

    def _take_continuation(self, received: frames.Frame) -> None:
        if self._block is None or self._block.stream_id != received.stream_id:
            raise ConnectionFaultError(
                Fault.PROTOCOL_ERROR, "headers that go on without a beginning"
            )
        self._add(self._block, received, received.payload)

    def _add(self, block: _HeaderBlock, received: frames.Frame, payload: bytes) -> None:
        block.data += payload
        block.frame_count += 1
        if len(block.data) > HEADER_BYTES_MAX or block.frame_count > HEADER_FRAMES_MAX:
            raise ConnectionFaultError(Fault.ENHANCE_YOUR_CALM, "too many headers")
        if received.flags & frames.END_HEADERS:
            self._block = None
            fields = self._header_reader.read(block.data)
            self.take_fields(block.stream_id, fields, is_last=block.is_last)

    def _take_reset(self, received: frames.Frame) -> None:
        code = frames.read_number(received.payload)
        if (stream := self._stream(received)) is not None:
            number = status_of_reset(code).value[0]
            stream.close(from_trailers(number, f"The peer reset the stream with {code}.", b""))

    def _take_settings(self, received: frames.Frame) -> None:
        if received.stream_id:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "settings of a stream")
        if received.flags & frames.ACK:
            return
        self.has_settings = True
        settings = frames.read_settings(received.payload)
        # First of all: grpc counts on a larger window only from here on.
        self.reply(frames.frame(frames.SETTINGS, frames.ACK, 0))
        for setting, value in settings:
            self._heed(setting, value)

    def _heed(self, setting: int, value: int) -> None:
        if setting == frames.INITIAL_WINDOW_SIZE:
            if value > frames.WINDOW_BYTES_MAX:
                raise ConnectionFaultError(Fault.FLOW_CONTROL_ERROR, "too large a window")
            more, self.stream_window_bytes = value - self.stream_window_bytes, value
            for stream in list(self.streams.values()):
                stream.make_room(more)
        elif setting == frames.MAX_FRAME_SIZE:
            if not frames.FRAME_BYTES_DEFAULT <= value <= frames.FRAME_BYTES_LARGEST:
                raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "an impossible size of frames")
            self.frame_bytes_max = min(value, FRAME_BYTES_MAX)
        elif setting == frames.HEADER_TABLE_SIZE:
            self.headers.limit_table(value)

    def _take_push(self, received: frames.Frame) -> None:
        raise ConnectionFaultError(Fault.PROTOCOL_ERROR, f"a push on stream {received.stream_id}")

    def _take_ping(self, received: frames.Frame) -> None:
        if len(received.payload) != frames.PING_BYTES:
            raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "a ping of another size")
        if not received.flags & frames.ACK:
            self.reply(frames.frame(frames.PING, frames.ACK, 0, received.payload))

    def _take_goaway(self, received: frames.Frame) -> None:
        self.peer_leaves(frames.read_goaway(received.payload))

    def _take_window_update(self, received: frames.Frame) -> None:
        size = frames.read_number(received.payload) & frames.STREAM_ID_MAX
        if not size:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "room for nothing")
        if received.stream_id:
            if (stream := self._stream(received)) is not None:
                stream.make_room(size)
            return
        self.window_bytes += size
        if self.window_bytes > frames.WINDOW_BYTES_MAX:
            raise ConnectionFaultError(Fault.FLOW_CONTROL_ERROR, "too large a window")
        self.go_on()


class _HeaderBlock:
    """A header list that may go on in further frames."""

    def __init__(self, stream_id: int, *, is_last: bool) -> None:
        self.stream_id = stream_id
        self.is_last = is_last
        self.data = b""
        self.frame_count = 0
