"""What is read as a plain request is what aiohttp's parser would have read."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Final

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from layer_gateway.http.head_errors import HEAD_BYTES_MAX
from layer_gateway.http.heads import PLAIN_HEAD_BYTES_MAX, Head, PlainReader, head_of

HOST: Final = b"host: gateway\r\n"
LEFT: Final = {
    "a head that goes on": b"GET /a HTTP/1.1\r\n" + HOST + b"x: 1",
    "a body in chunks": b"POST /a HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n",
    "a caller that asks first": b"PUT /a HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\n\r\n",
    "an older version": b"GET /a HTTP/1.0\r\n" + HOST + b"\r\n",
    "no host": b"GET /a HTTP/1.1\r\n\r\n",
    "a field twice": b"GET /a HTTP/1.1\r\n" + HOST + b"X-A: 1\r\nx-a: 2\r\n\r\n",
    "two lengths": b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: 1\r\n" * 2 + b"\r\na",
    "a whole address": b"GET http://gateway/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT gateway:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method we know nothing of": b"PROPFIND /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "two requests": (b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n") * 2,
    "the first byte of another": b"GET /a HTTP/1.1\r\n" + HOST + b"\r\nG",
    "a byte too many": b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: 1\r\n\r\nab",
    "a long head": b"GET /a HTTP/1.1\r\n"
    + HOST
    + b"x: "
    + b"a" * PLAIN_HEAD_BYTES_MAX
    + b"\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00",
}
METHODS: Final = ((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"), (b"OPTIONS", b"get"))
PATHS: Final = (
    (b"/", b"/a/%2Fb?c=d", b"//a", b"/a#b"),
    (b"/\xc3\xa9", b"*", b"/a b", b"http://g/a"),
)
NAMES: Final = ((b"Accept", b"X-A", b"content-length", b"Content-Type"), (b"Host", b"ho st"))
VALUES: Final = (
    (b"", b" a ", b"a\t", b"0", b"3", b"5"),
    (b"\xc3\xa9\xff", b"a\x00b", b"a\nb", b"a\rb"),
)
ENDS: Final = ((b"\r\n",), (b"\n", b"\r\n "))
"""Good ones, and others."""

OTHERS_SHARE: Final = 0.06
REQUESTS_COUNT: Final = 5000


class _Protocol(BaseProtocol):
    """A connection that takes whatever its parser makes of it."""

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 -- aiohttp's
        pass


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT.keys())
def test_what_is_not_plain_is_left_to_aiohttp(data: bytes) -> None:
    assert PlainReader().read(data) is None


def test_a_body_may_come_later() -> None:
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\n"
    for came in (b"", b"ab", b"abcde"):
        found = PlainReader().read(head + came)
        assert found is not None
        assert found[1:] == (len(head), 5)


def test_requests_that_differ_in_their_length_alone_share_a_head() -> None:
    start = b"POST /a HTTP/1.1\r\n" + HOST
    heads = []
    for rest in (b"Content-Length: 1\r\n\r\na", b"Content-Length: 12\r\n\r\nab", b"\r\n"):
        found = PlainReader().read(start + rest)
        assert found is not None
        heads.append(found[0])
    assert heads[0] is heads[1]
    assert heads[1] is not heads[2]
    assert heads[0].raw_headers == heads[2].raw_headers == ((b"host", b"gateway"),)


@pytest.mark.parametrize(
    "length", [b"0", b"7", b"12", b" 3", b"3 ", b"", b"x", b"-1", b"1_0", b"3\rx: 1", b"9" * 16]
)
@pytest.mark.parametrize("rest", [b"accept: a\r\n", b"accept: b\r\n", b""])
def test_a_head_after_another_reads_as_if_it_were_the_first(length: bytes, rest: bytes) -> None:
    def request(length: bytes, rest: bytes) -> bytes:
        head = b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: " + length + b"\r\n" + rest
        return head + b"\r\nabc"

    reader = PlainReader()
    assert reader.read(request(b"5", b"accept: a\r\n")) is not None
    for _ in range(2):
        data = request(length, rest)
        assert reader.read(data) == PlainReader().read(data)


def test_a_connection_that_is_to_close_says_so() -> None:
    found = PlainReader().read(b"GET /a HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    assert found is not None
    assert not found[0].can_keep_alive


def test_an_offer_to_speak_another_protocol_is_not_taken_up(
    loop: asyncio.AbstractEventLoop,
) -> None:
    head = b"POST /a HTTP/1.1\r\n" + HOST + b"connection: upgrade\r\nupgrade: %b\r\n"
    for protocol in (b"h2c", b"websocket"):
        data = head % protocol + b"content-length: 3\r\n\r\nabc"
        found = PlainReader().read(data)
        assert found is not None
        assert (found[1:], found[0].can_keep_alive) == ((len(data) - 3, 3), True)
        messages, _, _ = _parser(loop).feed_data(data)  # which may have lost what follows
        assert not head_of(messages[0][0]).can_keep_alive


def test_plain_requests_read_as_aiohttp_reads_them(loop: asyncio.AbstractEventLoop) -> None:
    rng = random.Random(7)  # noqa: S311 -- the same requests in every run
    plain_count = 0
    for _ in range(REQUESTS_COUNT):
        data = _request(rng)
        found = PlainReader().read(data)
        if found is None:
            continue
        plain_count += 1
        head, start, length = found
        assert _told(head, data[start:]) == _read_by_aiohttp(data, length, loop), data
    assert plain_count > REQUESTS_COUNT / 20


def _request(rng: random.Random) -> bytes:
    """Return a request that is a good one, or nearly."""

    def some(parts: tuple[tuple[bytes, ...], tuple[bytes, ...]]) -> bytes:
        return rng.choice(parts[rng.random() < OTHERS_SHARE])

    fields = [(some(NAMES), some(VALUES)) for _ in range(rng.randrange(4))]
    if rng.random() > OTHERS_SHARE:
        fields.append((rng.choice((b"Host", b"host")), b"gateway"))
    rng.shuffle(fields)
    lines = b"".join(name + b":" + value + some(ENDS) for name, value in fields)
    line = b"%b %b HTTP/1.1" % (some(METHODS), some(PATHS))
    return line + some(ENDS) + lines + some(ENDS) + b"abcdefgh"[: rng.randrange(7)]


def _parser(loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    return HttpRequestParser(
        _Protocol(loop),
        loop,
        2**16,
        max_line_size=HEAD_BYTES_MAX,
        max_field_size=HEAD_BYTES_MAX,
        auto_decompress=False,
    )


def _read_by_aiohttp(data: bytes, length: int, loop: asyncio.AbstractEventLoop) -> object:
    try:
        messages, _, tail = _parser(loop).feed_data(data)
    except HttpProcessingError as error:
        return error
    assert not tail
    ((message, payload),) = messages
    assert not any((message.compression, message.upgrade, message.chunked))
    assert int(message.headers.get("content-length", "0")) == length
    body = b"".join(payload._buffer) if hasattr(payload, "_buffer") else b""
    return _told(head_of(message), body)


def _told(head: Head, body: bytes) -> object:
    """Return what a head says, without the length."""
    return (
        head.method,
        head.path,
        head.version,
        [field for field in head.raw_headers if field[0].lower() != b"content-length"],
        {name: value for name, value in head.fields.items() if name != "content-length"},
        head.can_keep_alive,
        body,
    )
