from __future__ import annotations

import pytest

from layer_kit.configuration import ConfigurationError
from layer_kit.errors import InvalidRequestError
from layer_upstream.headers import Header
from layer_upstream.origin import parse_origin
from layer_upstream.request import RequestHead

HEAD = RequestHead(b"h:1", b"/base")


def test_a_head_carries_host_length_and_headers_in_their_order() -> None:
    headers = [(b"X-B", b"1"), (b"a", b"2"), (b"X-B", b"3")]
    assert HEAD.encode(b"POST", b"/a%2Fb?c=d%20e", headers, 12) == (
        b"POST /base/a%2Fb?c=d%20e HTTP/1.1\r\nhost: h:1\r\n"
        b"x-b: 1\r\na: 2\r\nx-b: 3\r\ncontent-length: 12\r\n\r\n"
    )


def test_only_methods_that_may_have_a_body_announce_an_empty_one() -> None:
    assert b"content-length" not in HEAD.encode(b"GET", b"/", [], 0)
    assert b"content-length: 0\r\n" in HEAD.encode(b"DELETE", b"/", [], 0)
    assert b"content-length: 3\r\n" in HEAD.encode(b"GET", b"/", [], 3)


def test_what_ends_at_this_hop_and_what_we_write_ourselves_is_not_forwarded() -> None:
    headers: list[Header] = [
        (b"Host", b"evil"),
        (b"Content-Length", b"99"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"keep-alive, X-Secret"),
        (b"Connection", b"x-other"),
        (b"x-secret", b"1"),
        (b"X-Other", b"2"),
        (b"TE", b"trailers"),
        (b"Upgrade", b"h2c"),
        (b"Expect", b"100-continue"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Accept", b"*/*"),
    ]
    assert HEAD.encode(b"GET", b"/", headers, 0) == (
        b"GET /base/ HTTP/1.1\r\nhost: h:1\r\naccept: */*\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"GET", b"/a HTTP/1.1\r\nx: y", []),
        (b"GET", b"/a b", []),
        (b"GET", b"", []),
        (b"GET", b"http://other/", []),
        (b"GET /x HTTP/1.1\r\n\r\nGET", b"/", []),
        (b"GET X", b"/", []),
        (b"GET", b"/", [(b"a", b"b\r\nc: d")]),
        (b"GET", b"/", [(b"a", b"b\nc: d")]),
        (b"GET", b"/", [(b"a", b"b\rc")]),
        (b"GET", b"/", [(b"a\0", b"b")]),
        (b"GET", b"/", [(b"a b", b"c")]),
        (b"GET", b"/", [(b"a:", b"c")]),
        (b"GET", b"/", [(b"", b"c")]),
    ],
)
def test_a_request_that_would_break_its_framing_is_refused(
    method: bytes, target: bytes, headers: list[Header]
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        HEAD.encode(method, target, headers, 0)
    assert caught.value.reason == "UPSTREAM_REQUEST_INVALID"


@pytest.mark.parametrize(
    ("text", "host", "port", "authority", "prefix"),
    [
        ("http://h", "h", 80, b"h", b""),
        ("https://h/", "h", 443, b"h", b""),
        ("https://h:8443/a/b/", "h", 8443, b"h:8443", b"/a/b"),
        ("http://[::1]:81", "::1", 81, b"[::1]:81", b""),
        ("http://bücher.example", "xn--bcher-kva.example", 80, b"xn--bcher-kva.example", b""),
    ],
)
def test_an_origin_is_split(
    text: str, host: str, port: int, authority: bytes, prefix: bytes
) -> None:
    origin = parse_origin(text)
    assert (origin.host, origin.port, origin.authority) == (host, port, authority)
    assert origin.path_prefix == prefix
    assert origin.is_tls is text.startswith("https")


def test_a_unix_origin_is_a_path() -> None:
    origin = parse_origin("unix:/run/x.sock")
    assert (origin.unix_path, origin.authority) == ("/run/x.sock", b"localhost")


@pytest.mark.parametrize(
    "text",
    ["", "h:80", "ftp://h", "http://", "http://h:x", "http://u:p@h", "http://h?q", "http://h#f"],
)
def test_anything_else_is_no_origin(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_origin(text)
