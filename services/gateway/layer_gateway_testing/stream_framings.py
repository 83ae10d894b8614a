"""Ways to frame a request that are not the usual one and ask for the same."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Final

Framing = Callable[[bytes, bytes], bytes]
"""Returns a request that has the usual head and body otherwise."""


def _chunked(head: bytes, body: bytes) -> bytes:
    at = len(body) // 2
    head = head.replace(b"content-length: %d" % len(body), b"transfer-encoding: chunked")
    return b"%b%x\r\n%b\r\n%x;a=b\r\n%b\r\n0\r\n\r\n" % (
        head, at, body[:at], len(body) - at, body[at:],
    )  # fmt: skip


def _zipped(head: bytes, body: bytes) -> bytes:
    packed = gzip.compress(body, 1)
    length = b"content-encoding: gzip\r\ncontent-length: %d" % len(packed)
    return head.replace(b"content-length: %d" % len(body), length) + packed


def _with(old: bytes, new: bytes) -> Framing:
    return lambda head, body: head.replace(old, new, 1) + body


FRAMINGS: Final[dict[str, Framing]] = {
    "chunked": _chunked,
    "zipped": _zipped,
    "expecting": _with(b"host:", b"expect: 100-continue\r\nhost:"),
    "named": _with(b"host:", b"x-request-id: one\r\nhost:"),
    "other case": _with(b"content-length", b"Content-Length"),
    "with zeros": _with(b"content-length: ", b"content-length: 00"),
    "with spaces": _with(b"content-length: ", b"content-length: \t "),
    "after a line": lambda head, body: b"\r\n" + head + body,
    "long head": _with(b"host:", b"x-long: %b\r\nhost:" % (b"l" * 5000)),
    "whole address": _with(b"POST /", b"POST http://edge.test/"),
    "twice": _with(b"host:", b"x-note: a\r\nx-note: b\r\nhost:"),
    "traced": _with(
        b"host:",
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nhost:",
    ),
}
