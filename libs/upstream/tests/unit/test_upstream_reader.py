from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import UpstreamError
from layer_upstream.limits import HEADERS_COUNT_MAX
from layer_upstream.reader import ResponseReader

HEADER_BYTES_MAX = 4096


def read(*pieces: bytes, is_head: bool = False) -> ResponseReader:
    reader = ResponseReader(HEADER_BYTES_MAX)
    reader.begin(is_head=is_head)
    for piece in pieces:
        reader.feed(memoryview(piece))
    return reader


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


def test_a_response_with_a_length_is_complete_at_its_end() -> None:
    reader = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhel")
    assert not reader.is_complete
    reader.feed(memoryview(b"lo"))
    assert reader.is_complete
    assert reader.can_keep_alive
    assert reader.headers == [(b"x-a", b"b")]
    assert reader.take_body() == b"hello"


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(min_value=0, max_value=500), max_size=12),
    interim=st.booleans(),
)
def test_where_the_bytes_are_cut_does_not_matter(
    chunks: list[bytes], cuts: list[int], *, interim: bool
) -> None:
    wire = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" if interim else b""
    wire += b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nA: 1\r\nA: 2\r\n\r\n"
    wire += chunked(*chunks)
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    reader = read(*(wire[a:b] for a, b in pairwise(edges)))
    assert reader.is_complete
    assert reader.can_keep_alive
    assert reader.status == 201
    assert reader.headers == [(b"a", b"1"), (b"a", b"2")]
    assert reader.take_body() == b"".join(chunks)


@given(junk=st.binary(max_size=300))
def test_junk_is_refused_or_waited_on_but_never_crashes(junk: bytes) -> None:
    reader = ResponseReader(HEADER_BYTES_MAX)
    reader.begin(is_head=False)
    try:
        reader.feed(memoryview(junk))
    except UpstreamError as error:
        assert error.reason == "UPSTREAM_PROTOCOL_ERROR"  # noqa: PT017 -- other errors must pass
    else:
        reader.feed_eof()


def test_one_reader_reads_one_response_after_another() -> None:
    reader = read(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na")
    assert reader.take_body() == b"a"
    reader.begin(is_head=True)
    reader.feed(memoryview(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"))
    assert reader.is_complete
    reader.begin(is_head=False)
    reader.feed(memoryview(b"HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\nc"))
    assert (reader.status, reader.take_body(), reader.can_keep_alive) == (404, b"c", True)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_an_answer_to_head_ends_with_its_head(head: bytes) -> None:
    reader = read(head, is_head=True)
    assert reader.is_complete
    assert reader.can_keep_alive
    assert reader.take_body() == b""


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("extra", [b"", b"content-length: 9\r\n", b"etag: x\r\n"])
def test_statuses_without_a_body_end_with_their_head(status: bytes, extra: bytes) -> None:
    reader = read(b"HTTP/1.1 " + status + b"\r\n" + extra + b"\r\n")
    assert reader.is_complete
    assert reader.can_keep_alive


def test_interim_responses_are_skipped() -> None:
    reader = read(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nx-i: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    )
    assert reader.is_complete
    assert reader.status == 200
    assert reader.headers == []


def test_endless_interim_responses_are_refused() -> None:
    with pytest.raises(UpstreamError, match="over 4096 bytes or 256 lines"):
        read(b"HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n" * (HEADERS_COUNT_MAX + 1))
    with pytest.raises(UpstreamError, match="without a whole head"):
        read(*[b"HTTP/1.1 102 Processing\r\n\r\n"] * 200)


def test_only_the_end_of_the_connection_delimits_a_body_of_no_stated_length() -> None:
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nall there ", b"is")
    assert not reader.is_complete
    reader.feed_eof()
    assert reader.is_complete
    assert not reader.can_keep_alive
    assert reader.take_body() == b"all there is"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-le",
    ],
)
def test_a_cut_response_is_not_completed_by_the_end_of_the_connection(wire: bytes) -> None:
    reader = read(wire)
    reader.feed_eof()
    assert not reader.is_complete


@pytest.mark.parametrize("is_head", [True, False])
@pytest.mark.parametrize("leftover", [b"HTTP/1.1 200", b"x", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_bytes_after_the_end_cost_the_connection_but_not_the_answer(
    leftover: bytes, *, is_head: bool
) -> None:
    body = b"" if is_head else b"ok"
    wire = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + body + leftover
    reader = read(wire, is_head=is_head)
    assert reader.is_complete
    assert not reader.can_keep_alive
    assert reader.take_body() == body


@pytest.mark.parametrize(
    ("head", "can_keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: x-a, close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_keep_alive_follows_version_and_connection(head: bytes, *, can_keep_alive: bool) -> None:
    assert read(head + b"content-length: 0\r\n\r\n").can_keep_alive is can_keep_alive


def test_headers_that_end_at_this_hop_are_dropped_and_trailers_too() -> None:
    reader = read(
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
        b"1\r\na\r\n0\r\nX-T: 1\r\n\r\n"
    )
    assert reader.is_complete
    assert reader.headers == [(b"content-encoding", b"gzip")]


@pytest.mark.parametrize(
    ("wire", "told"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not valid"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n", "switches"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "transfer-encoding 'gzip'"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "transfer-encoding"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "Content-Length"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "Content-Length",
        ),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "chunk size"),
        (b"HTTP/1.1 200 OK\r\nx-a: b\r\n folded\r\n\0: \r\n\r\n", "not valid"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (HEADERS_COUNT_MAX + 1) + b"\r\n", "256 lines"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * HEADER_BYTES_MAX + b"\r\n\r\n", "4096 bytes"),
    ],
)
def test_a_response_that_breaks_the_rules_is_refused(wire: bytes, told: str) -> None:
    with pytest.raises(UpstreamError, match=told) as caught:
        read(wire)
    assert caught.value.reason == "UPSTREAM_PROTOCOL_ERROR"


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nx: ",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;x=",
    ],
)
def test_a_line_without_end_is_refused(start: bytes) -> None:
    with pytest.raises(UpstreamError, match="4096 bytes"):
        read(start, *[b"a" * 1000] * 6)
