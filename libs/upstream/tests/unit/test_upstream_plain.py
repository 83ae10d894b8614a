"""An answer that is read without the reader is one that the reader would have read the same."""

from __future__ import annotations

import random
from typing import Final

import pytest

from layer_upstream.places import Places
from layer_upstream.plain import HEAD_BYTES_MAX, PlainHead, PlainReader
from layer_upstream.reader import ResponseReader

BODY_BYTES_MAX: Final = 100
OK: Final = b"HTTP/1.1 200 OK\r\n"
LEFT: Final = {
    "a head that goes on": OK + b"content-length: 3\r\nx: 1",
    "chunks": OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunks with a length": OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
    "no length": OK + b"\r\nabc",
    "two lengths": OK + b"content-length: 3\r\n" * 2 + b"\r\nabc",
    "a length that is none": OK + b"content-length: -3\r\n\r\nabc",
    "a length in a value": OK + b"x: \tcontent-length: 3\r\n\r\nabc",
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\ncontent-length: 0\r\n\r\n",
    "a status without a body": b"HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n",
    "bytes that nobody asked for": OK + b"content-length: 3\r\n\r\nabcd",
    "a longer body than may be held": OK + b"content-length: 101\r\n\r\nabc",
    "a longer head": OK + b"x: " + b"a" * HEAD_BYTES_MAX + b"\r\ncontent-length: 3\r\n\r\nabc",
    "a bare line feed": OK + b"x: 1\n\r\ncontent-length: 3\r\n\r\nabc",
    "no HTTP": b"\x16\x03\x01\r\ncontent-length: 3\r\n\r\nabc",
}
LINES: Final = (
    (b"Content-Type: application/json", b"x-a:", b"X-A: b ", b"connection: keep-alive", b"A: \xff"),
    (b"Connection: close", b"connection: x-a", b"a b: c", b"x: a\rb", b" folded", b"x:\x00"),
)
LENGTHS: Final = (
    (
        b"content-length: %d",
        b"Content-Length:%d",
        b"CONTENT-LENGTH: \t%d \t",
        b"content-length: 0%d",
    ),
    (b"content-length: %d,%d", b"content-length: +%d", b"content-length : %d"),
)
STATUS_LINES: Final = (
    (b"HTTP/1.1 200 OK", b"HTTP/1.1 404 ", b"HTTP/1.1 500 Oh no"),
    (b"HTTP/1.0 200 OK", b"HTTP/1.1 304 Not Modified", b"HTTP/2 200", b"HTTP/1.1 20 OK", b""),
)
"""Good ones, and others."""

OTHERS_SHARE: Final = 0.06
ANSWERS_COUNT: Final = 5000
RECEIVED_BYTES_MAX: Final = 4096


@pytest.mark.parametrize("data", LEFT.values(), ids=LEFT.keys())
def test_what_is_not_plain_is_left_to_the_reader(data: bytes) -> None:
    assert read_alone(data) is None


def test_what_is_plain_reads_as_the_reader_reads_it() -> None:
    rng = random.Random(5)  # noqa: S311 -- the same answers in every run
    received = bytearray(RECEIVED_BYTES_MAX)
    plain_count, of_one_connection = 0, PlainReader(received, Places())
    for _ in range(ANSWERS_COUNT):
        came, body = _answer(rng)
        plain = read_alone(came)
        received[: len(came)] = came
        assert of_one_connection.read(len(came), BODY_BYTES_MAX) == plain
        if plain is None:
            continue
        plain_count += 1
        head, found, place = plain
        reader = ResponseReader(HEAD_BYTES_MAX)
        reader.begin(is_head=False)
        reader.feed(memoryview(came))
        if place is not None:
            assert not reader.is_complete
            place[:] = body[-len(place) :]
            reader.feed(place)
        assert reader.is_complete
        assert reader.declared_bytes == len(found)
        assert head == PlainHead(reader.status, tuple(reader.headers), reader.can_keep_alive)
        assert found == reader.take_body() == body
    assert plain_count > ANSWERS_COUNT / 3


def test_a_plain_answer_is_taken_though_others_were_like_it() -> None:
    """The length is no part of what is remembered, and everything else is."""
    heads = []
    for body, extra in ((b"a", b""), (b"bcd", b""), (b"", b""), (b"bcd", b"x: 1\r\n")):
        came = OK + b"a: 1\r\n%bcontent-length: %d\r\n\r\n" % (extra, len(body)) + body
        plain = read_alone(came)
        assert plain is not None
        assert plain[1:] == (body, None)
        heads.append(plain[0])
    assert heads[0] is heads[1] is heads[2]
    assert heads[3].headers == ((b"a", b"1"), (b"x", b"1"))


def test_what_was_received_before_is_no_part_of_an_answer() -> None:
    whole = OK + b"content-length: 3\r\n\r\nabc"
    reader = PlainReader(bytearray(whole), Places())
    assert reader.read(len(whole), BODY_BYTES_MAX) is not None
    for size_bytes in range(1, len(whole) - 3):
        assert reader.read(size_bytes, BODY_BYTES_MAX) is None
        assert reader.read(len(whole), BODY_BYTES_MAX) is not None
    for size_bytes in range(len(whole) - 3, len(whole)):
        plain = reader.read(size_bytes, BODY_BYTES_MAX)
        assert plain is not None
        assert plain[2] is not None
        assert len(plain[2]) == len(whole) - size_bytes


def read_alone(came: bytes) -> tuple[PlainHead, bytes | bytearray, memoryview | None] | None:
    return PlainReader(bytearray(came), Places()).read(len(came), BODY_BYTES_MAX)


def _answer(rng: random.Random) -> tuple[bytes, bytes]:
    """Return the first bytes of an answer, its body not always whole; and the body."""
    body = rng.randbytes(rng.randrange(8))
    length = _one(rng, LENGTHS)
    lines = [_one(rng, LINES) for _ in range(rng.randrange(4))]
    length_line = length % ((len(body),) * length.count(b"%d"))
    lines.insert(rng.randrange(len(lines) + 1), length_line)
    head = b"\r\n".join((_one(rng, STATUS_LINES), *lines, b"", b""))
    return head + body[: rng.randrange(len(body) + 1)], body


def _one(rng: random.Random, choices: tuple[tuple[bytes, ...], ...]) -> bytes:
    return rng.choice(choices[rng.random() < OTHERS_SHARE])
