"""Frames of HTTP/2: how they are written, and how they are cut out of what arrives."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from layer_streams.faults import ConnectionFaultError, Fault

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

WINDOW_BYTES_DEFAULT: Final = 65_535
WINDOW_BYTES_MAX: Final = 2**31 - 1
FRAME_BYTES_DEFAULT: Final = 16_384
FRAME_BYTES_LARGEST: Final = 2**24 - 1
STREAM_ID_MAX: Final = 2**31 - 1
PING_BYTES: Final = 8
PRIORITY_BYTES: Final = 5

_HEAD: Final = Struct(">HBBBI")
HEAD_BYTES: Final = _HEAD.size
_MESSAGE_HEAD: Final = Struct(">IBIBI")  # size and kind, flags, stream; compression, size
MESSAGE_HEAD_BYTES: Final = _MESSAGE_HEAD.size
_SETTING: Final = Struct(">HI")
_NUMBER: Final = Struct(">I")
_TWO_NUMBERS: Final = Struct(">II")


class Frame(NamedTuple):
    """A frame as it arrived."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class FrameReader:
    """Cuts frames out of bytes that come in pieces."""

    def __init__(self, payload_bytes_max: int) -> None:
        self._payload_bytes_max = payload_bytes_max
        self.is_between = True
        """Whether no frame has begun."""
        self._rest = b""

    def read(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are whole now.

        Raises:
            ConnectionFaultError: When a frame is too large.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end = 0, len(data)
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, stream_id = _HEAD.unpack_from(data, at)
            size = high << 8 | low
            if size > self._payload_bytes_max:
                raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            start = at + HEAD_BYTES
            if end - start < size:
                break
            at = start + size
            yield Frame(kind, flags, stream_id & STREAM_ID_MAX, data[start:at])
        self._rest = data[at:]
        self.is_between = not self._rest


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def message_frame(stream_id: int, message: bytes) -> bytes:
    """Return the frame that holds the whole of a gRPC message, which is not compressed."""
    size = len(message)
    return _MESSAGE_HEAD.pack(size + 5 << 8, 0, stream_id, 0, size) + message


def lone_message(data: bytes) -> int:
    """Return the stream of the message that ``data`` is from its first byte to its last; else 0."""
    if len(data) < MESSAGE_HEAD_BYTES:
        return 0
    size_and_kind, flags, stream_id, is_compressed, size = _MESSAGE_HEAD.unpack_from(data)
    if (
        size_and_kind == size + 5 << 8  # data has the kind 0
        and size == len(data) - MESSAGE_HEAD_BYTES
        and not (flags or is_compressed)
    ):
        return int(stream_id)
    return 0


def settings(values: dict[int, int]) -> bytes:
    """Return a frame of settings."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*pair) for pair in values.items()))


def window_update(stream_id: int, size: int) -> bytes:
    """Return the frame that makes room for ``size`` further bytes; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, _NUMBER.pack(size))


def reset(stream_id: int, fault: Fault) -> bytes:
    """Return the frame that ends a stream."""
    return frame(RST_STREAM, 0, stream_id, _NUMBER.pack(fault))


def goaway(last_stream_id: int, fault: Fault, text: str = "") -> bytes:
    """Return the frame that announces the end of a connection."""
    return frame(GOAWAY, 0, 0, _TWO_NUMBERS.pack(last_stream_id, fault) + text.encode())


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Read a frame of settings, in its order.

    Raises:
        ConnectionFaultError: When it is no list of them.
    """
    if len(payload) % _SETTING.size:
        raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "settings that are cut off")
    return list(_SETTING.iter_unpack(payload))


def read_number(payload: bytes) -> int:
    """Read the payload of a frame that holds one number.

    Raises:
        ConnectionFaultError: When it holds something else.
    """
    if len(payload) != _NUMBER.size:
        raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "a number of another size")
    number: int = _NUMBER.unpack(payload)[0]
    return number


def read_goaway(payload: bytes) -> int:
    """Read the last stream that the peer takes.

    Raises:
        ConnectionFaultError: When it is too short.
    """
    if len(payload) < _TWO_NUMBERS.size:
        raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "a farewell that is cut off")
    return int(_TWO_NUMBERS.unpack_from(payload)[0]) & STREAM_ID_MAX


def without_padding(received: Frame) -> bytes:
    """Return the payload of a frame of data or headers, without what pads it.

    Raises:
        ConnectionFaultError: When there is more padding than payload.
    """
    payload = received.payload
    if received.flags & PADDED:
        padding = payload[0] if payload else 0
        if padding >= len(payload):
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "more padding than payload")
        payload = payload[1 : len(payload) - padding]
    if received.kind == HEADERS and received.flags & WITH_PRIORITY:
        if len(payload) < PRIORITY_BYTES:
            raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "a priority that is cut off")
        payload = payload[PRIORITY_BYTES:]
    return payload
