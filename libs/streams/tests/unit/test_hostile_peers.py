"""What a peer may send that is no gRPC, or too much: the connection ends, and nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from layer_kit.rpc.calls import CallMetrics
from layer_streams import frames
from layer_streams.client import ClientConnection
from layer_streams.faults import Fault
from layer_streams.headers import HeaderWriter
from layer_streams.limits import (
    CONNECTION_WINDOW_BYTES,
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    REPLIES_UNREAD_MAX,
    STREAM_WINDOW_BYTES,
    STREAMS_MAX,
)
from layer_streams.server_connection import ServerConnection
from layer_streams.server_stream import ServerStream
from layer_testing.stream_listeners import KeepingListener

METHOD = "/a.B/C"
CALL = (
    (":method", "POST"),
    (":path", METHOD),
    (":scheme", "http"),
    ("content-type", "application/grpc"),
)
HELLO = frames.PREFACE + frames.settings({})


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and has no other side."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def frames(self) -> list[frames.Frame]:
        data = self.written.removeprefix(frames.PREFACE)
        return list(frames.FrameReader(2**24).read(data))

    def fault(self) -> int | None:
        """Return why the connection was ended, None while it is not."""
        found = [one for one in self.frames() if one.kind == frames.GOAWAY]
        return int.from_bytes(found[0].payload[4:8], "big") if found else None

    def resets(self) -> list[tuple[int, int]]:
        return [
            (one.stream_id, int.from_bytes(one.payload, "big"))
            for one in self.frames()
            if one.kind == frames.RST_STREAM
        ]


class Heard(KeepingListener):
    """A listener that can be a service as well."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: ServerStream | None = None

    def __call__(self, stream: ServerStream, _metadata: Mapping[str, str]) -> Heard:
        self.stream = stream
        return self


def server(heard: Heard) -> tuple[ServerConnection, Wire]:
    connection = ServerConnection(
        methods={METHOD: heard},
        domain="test",
        calls=CallMetrics(CollectorRegistry()),
        made=lambda _: True,
        lost=lambda _: None,
    )
    wire = Wire()
    connection.connection_made(wire)
    return connection, wire


def client(heard: Heard) -> tuple[ClientConnection, Wire]:
    connection, wire = ClientConnection(list(CALL), heard), Wire()
    connection.connection_made(wire)
    return connection, wire


def call(stream_id: int = 1, fields: tuple[tuple[str, str], ...] = CALL, flags: int = 4) -> bytes:
    return frames.frame(frames.HEADERS, flags, stream_id, HeaderWriter().write(fields))


def data(payload: bytes, flags: int = 0, stream_id: int = 1) -> bytes:
    return frames.frame(frames.DATA, flags, stream_id, payload)


def window(stream_id: int, size: int) -> bytes:
    return frames.window_update(stream_id, size)


EMPTY_CONTINUATION = frames.frame(frames.CONTINUATION, 0, 1)

BROKEN = {
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", Fault.PROTOCOL_ERROR),
    "data before settings": (frames.PREFACE + data(b"x"), Fault.PROTOCOL_ERROR),
    "too large a frame": (
        HELLO + frames.frame(frames.PING, 0, 0, bytes(FRAME_BYTES_MAX + 1)),
        Fault.FRAME_SIZE_ERROR,
    ),
    "settings that are cut off": (
        HELLO + frames.frame(frames.SETTINGS, 0, 0, b"12345"),
        Fault.FRAME_SIZE_ERROR,
    ),
    "settings of a stream": (
        HELLO + frames.frame(frames.SETTINGS, 0, 1),
        Fault.PROTOCOL_ERROR,
    ),
    "too large a window by settings": (
        HELLO + frames.settings({frames.INITIAL_WINDOW_SIZE: 2**31}),
        Fault.FLOW_CONTROL_ERROR,
    ),
    "too small a frame by settings": (
        HELLO + frames.settings({frames.MAX_FRAME_SIZE: 100}),
        Fault.PROTOCOL_ERROR,
    ),
    "a ping of another size": (
        HELLO + frames.frame(frames.PING, 0, 0, b"short"),
        Fault.FRAME_SIZE_ERROR,
    ),
    "a push": (HELLO + frames.frame(frames.PUSH_PROMISE, 0, 1, b"1234"), Fault.PROTOCOL_ERROR),
    "a farewell that is cut off": (
        HELLO + frames.frame(frames.GOAWAY, 0, 0, b"1234"),
        Fault.FRAME_SIZE_ERROR,
    ),
    "room for nothing": (HELLO + window(0, 0), Fault.PROTOCOL_ERROR),
    "room beyond a window": (HELLO + window(0, 2**31 - 1), Fault.FLOW_CONTROL_ERROR),
    "room beyond a stream's window": (
        HELLO + call() + window(1, 2**31 - 1),
        Fault.FLOW_CONTROL_ERROR,
    ),
    "a reset of another size": (
        HELLO + call() + frames.frame(frames.RST_STREAM, 0, 1, b"12345"),
        Fault.FRAME_SIZE_ERROR,
    ),
    "data of a stream that has not begun": (HELLO + data(b"x"), Fault.PROTOCOL_ERROR),
    "a stream that only a server begins": (HELLO + call(2), Fault.PROTOCOL_ERROR),
    "headers after headers": (HELLO + call() + call(), Fault.PROTOCOL_ERROR),
    "headers that do not go on": (HELLO + call(flags=0) + data(b"x"), Fault.PROTOCOL_ERROR),
    "headers without a beginning": (HELLO + EMPTY_CONTINUATION, Fault.PROTOCOL_ERROR),
    "headers without an end": (HELLO + call(flags=0) + 20 * EMPTY_CONTINUATION, 11),
    "too many headers": (
        HELLO + call(fields=(*CALL, ("x", "y" * 2 * HEADER_BYTES_MAX))),
        Fault.ENHANCE_YOUR_CALM,
    ),
    "headers that grow when they are unpacked": (
        HELLO
        + frames.frame(
            frames.HEADERS, 4, 1, HeaderWriter().write([("x", "y" * 4000)]) + b"\xbe" * 5000
        ),
        Fault.COMPRESSION_ERROR,
    ),
    "headers that cannot be read": (
        HELLO + frames.frame(frames.HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        Fault.COMPRESSION_ERROR,
    ),
    "a priority that is cut off": (
        HELLO + frames.frame(frames.HEADERS, 4 | frames.WITH_PRIORITY, 1, b"123"),
        Fault.FRAME_SIZE_ERROR,
    ),
    "more padding than payload": (
        HELLO + call() + data(b"\x09abc", frames.PADDED),
        Fault.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize(("sent", "fault"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("is_in_pieces", [False, True], ids=["at_once", "byte_by_byte"])
async def test_a_client_that_breaks_the_protocol_is_told_and_left(
    sent: bytes, fault: Fault, *, is_in_pieces: bool
) -> None:
    connection, wire = server(Heard())
    for piece in [bytes([byte]) for byte in sent] if is_in_pieces else [sent]:
        connection.data_received(piece)

    assert wire.fault() == fault
    assert wire.is_closed
    assert not connection.streams


async def test_more_data_than_there_is_room_for_ends_the_connection() -> None:
    heard = Heard()
    connection, wire = server(heard)
    connection.data_received(HELLO + call())
    assert heard.stream is not None
    heard.stream.hold()

    size = FRAME_BYTES_MAX - 5
    message = frames.message_frame(1, bytes(size))
    for _ in range(STREAM_WINDOW_BYTES // FRAME_BYTES_MAX):
        connection.data_received(message)
    assert wire.fault() is None  # what is held up is kept, as much as was allowed
    connection.data_received(message)

    assert wire.fault() == Fault.FLOW_CONTROL_ERROR
    assert heard.messages == []


async def test_what_was_held_up_is_heard_in_order_and_makes_room_again() -> None:
    heard = Heard()
    connection, wire = server(heard)
    connection.data_received(HELLO + call())
    assert heard.stream is not None
    heard.stream.hold()
    sent = [bytes([number]) * 60_000 for number in range(15)]
    for message in sent:
        connection.data_received(frames.message_frame(1, message))
    assert heard.messages == []

    heard.stream.resume()

    assert heard.messages == sent
    assert any(one.kind == frames.WINDOW_UPDATE and one.stream_id == 1 for one in wire.frames())


async def test_a_message_that_is_too_large_ends_its_call_alone() -> None:
    heard = Heard()
    connection, wire = server(heard)
    connection.data_received(HELLO + call() + data(b"\0\xff\xff\xff\xff"))

    assert wire.fault() is None
    assert [error.reason for error in heard.outcomes if error] == ["MESSAGE_TOO_LARGE"]


async def test_a_compressed_message_ends_its_call_alone() -> None:
    heard = Heard()
    connection, wire = server(heard)
    connection.data_received(HELLO + call() + data(b"\1\0\0\0\1x"))

    assert wire.fault() is None
    assert [error.reason for error in heard.outcomes if error] == ["COMPRESSION_UNSUPPORTED"]


async def test_an_end_within_a_message_ends_the_call_with_an_error() -> None:
    heard = Heard()
    connection, _ = server(heard)
    connection.data_received(HELLO + call() + data(b"\0\0\0\0\x09x", frames.END_STREAM))

    assert [error.reason for error in heard.outcomes if error] == ["STREAM_MALFORMED"]


async def test_a_service_that_speaks_first_is_heard_after_the_headers() -> None:
    class Greeter(Heard):
        def __call__(self, stream: ServerStream, metadata: Mapping[str, str]) -> Heard:
            assert not stream.is_writable
            return super().__call__(stream, metadata)

        def writable(self) -> None:
            assert self.stream is not None
            self.stream.send(b"hello")
            self.stream.end()

    connection, wire = server(Greeter())
    connection.data_received(HELLO + call())

    kinds = [one.kind for one in wire.frames() if one.stream_id == 1]
    assert kinds == [frames.HEADERS, frames.DATA, frames.HEADERS, frames.RST_STREAM]


async def test_streams_beyond_the_bound_are_refused() -> None:
    connection, wire = server(Heard())
    ids = range(1, 2 * STREAMS_MAX + 3, 2)
    connection.data_received(HELLO + b"".join(map(call, ids)))

    assert len(connection.streams) == STREAMS_MAX
    assert wire.resets() == [(ids[-1], Fault.REFUSED_STREAM)]


async def test_a_peer_that_asks_and_does_not_read_is_left() -> None:
    connection, wire = server(Heard())
    connection.data_received(HELLO)
    connection.pause_writing()
    ping = frames.frame(frames.PING, 0, 0, bytes(8))
    connection.data_received(ping * REPLIES_UNREAD_MAX)
    assert wire.fault() is None

    connection.data_received(ping)

    assert wire.fault() == Fault.ENHANCE_YOUR_CALM


async def test_data_of_a_stream_that_has_ended_is_passed_over_and_makes_room() -> None:
    connection, wire = server(Heard())
    connection.data_received(HELLO + call() + frames.reset(1, Fault.CANCEL))
    piece = data(bytes(60_000))
    for _ in range(2 * CONNECTION_WINDOW_BYTES // 60_000):
        connection.data_received(piece)

    assert wire.fault() is None
    assert any(one.kind == frames.WINDOW_UPDATE for one in wire.frames()[2:])


ANYTHING = st.one_of(
    st.binary(max_size=40),
    st.builds(
        frames.frame,
        st.integers(0, 12),
        st.integers(0, 255),
        st.integers(0, 5),
        st.one_of(st.binary(max_size=30), st.just(HeaderWriter().write(CALL))),
    ),
    st.builds(frames.message_frame, st.just(1), st.binary(max_size=50)),
    st.builds(frames.settings, st.dictionaries(st.integers(0, 9), st.integers(0, 2**32 - 1))),
)


@given(begins_well=st.booleans(), sent=st.lists(ANYTHING, max_size=12), cut=st.integers(1, 60))
def test_whatever_a_client_sends_is_taken_or_ends_the_connection(
    sent: list[bytes], cut: int, *, begins_well: bool
) -> None:
    asyncio.run(_feed(server, HELLO + call() if begins_well else b"", b"".join(sent), cut))


@given(begins_well=st.booleans(), sent=st.lists(ANYTHING, max_size=12), cut=st.integers(1, 60))
def test_whatever_a_server_sends_is_taken_or_ends_the_connection(
    sent: list[bytes], cut: int, *, begins_well: bool
) -> None:
    asyncio.run(_feed(client, frames.settings({}) if begins_well else b"", b"".join(sent), cut))


async def _feed(make: object, beginning: bytes, sent: bytes, cut: int) -> None:
    heard = Heard()
    connection, wire = make(heard)  # type: ignore[operator]
    connection.data_received(beginning)
    for at in range(0, len(sent), cut):
        connection.data_received(sent[at : at + cut])
    assert connection.is_ending == wire.is_closed
    assert not (connection.is_ending and connection.streams)
    connection.connection_lost(None)
    assert len(heard.outcomes) <= 1


@given(
    messages=st.lists(st.binary(max_size=300), max_size=20),
    sizes=st.lists(st.integers(1, 400), min_size=1),
)
def test_messages_come_out_whole_however_they_are_cut(
    messages: list[bytes], sizes: list[int]
) -> None:
    async def run() -> list[bytes]:
        heard = Heard()
        connection, wire = server(heard)
        connection.data_received(HELLO + call())
        sent = b"".join(len(one).to_bytes(5, "big") + one for one in messages)
        for turn in range(len(sent) + 1):
            size = sizes[turn % len(sizes)]
            piece, sent = sent[:size], sent[size:]
            connection.data_received(data(piece))
        assert wire.fault() is None
        connection.connection_lost(None)
        return heard.messages

    assert asyncio.run(run()) == messages
