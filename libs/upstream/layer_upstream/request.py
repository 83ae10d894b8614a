"""A request as it goes on the wire."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from layer_kit.errors import InvalidRequestError
from layer_upstream.headers import HOP_BY_HOP, Header, end_to_end

Piece = bytes | memoryview
"""A part of a body, of one byte an item."""

HEADS_REMEMBERED_MAX: Final = 256
"""Heads that are remembered whole, since callers repeat them; of those of layer's edge, which are
64 KiB at most, that is 16 MiB in the worst case."""

KNOWN_NAMES_MAX: Final = 1024
KNOWN_NAME_BYTES_MAX: Final = 64
"""Header names whose form on the wire is remembered; other ones are worked out each time."""

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_BODILESS_METHODS: Final = frozenset({b"GET", b"HEAD"})
"""Their empty body is not announced; some servers refuse ``content-length: 0`` on them."""

_NOT_FORWARDED: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""Of a request we also write the framing ourselves, and the body is always at hand."""

_NAMING_NOTHING: Final = frozenset({b"keep-alive", b"close"})
"""The usual values of ``connection``, which name no field to leave out."""


class OutgoingRequest(msgspec.Struct, frozen=True):
    """One request; it may be sent more than once.

    Attributes:
        body: In pieces, of which none is empty.
        body_bytes: Their length together.
        deadline_s: Monotonic time by which the answer must have been handed over.
    """

    head: bytes
    body: Sequence[Piece]
    body_bytes: int
    is_head: bool
    is_streaming_allowed: bool
    deadline_s: float


def is_length_told(method: bytes) -> bool:
    """Tell whether the length of a body is told that is empty."""
    return method not in _BODILESS_METHODS


class RequestHead:
    """Writes request heads for one origin."""

    def __init__(self, authority: bytes, path_prefix: bytes) -> None:
        self._path_prefix = path_prefix
        self._after_target = b" HTTP/1.1\r\nhost: " + authority
        self._known_names: dict[bytes, bytes] = {}
        self._remembered = functools.lru_cache(HEADS_REMEMBERED_MAX)(self._begin)

    def encode(
        self, method: bytes, target: bytes, headers: Sequence[Header], body_bytes: int
    ) -> bytes:
        """Return the head, blank line included.

        Raises:
            InvalidRequestError: ``UPSTREAM_REQUEST_INVALID`` when a part would break the framing.
        """
        begin = self.begin(method, target, headers)
        if body_bytes or is_length_told(method):
            return b"%b\r\ncontent-length: %d\r\n\r\n" % (begin, body_bytes)
        return begin + b"\r\n\r\n"

    def begin(self, method: bytes, target: bytes, headers: Sequence[Header]) -> bytes:
        """Return the head up to the length of the body; errors as for :meth:`encode`."""
        return self._remembered(method, target, tuple(headers))

    def _begin(self, method: bytes, target: bytes, headers: Sequence[Header]) -> bytes:
        """Return the head up to what depends on the body."""
        pieces = [method, b" ", self._path_prefix, target, self._after_target]
        known_names = self._known_names
        for name, value in headers:
            written = known_names.get(name)
            if written is None:
                written = self._learn(name)
            if written:
                pieces.append(written)
                pieces.append(value)
            elif name.lower() == b"connection" and value.lower() not in _NAMING_NOTHING:
                return self._begin(method, target, _without_named(headers))
        line_count = len(pieces) // 2 - 1  # a header is two pieces; there is one more line
        begin = b"".join(pieces)
        if (
            begin.count(b"\n") != line_count
            or begin.count(b"\r") != line_count
            or b"\0" in begin
            or b" " in target
            or b" " in method
            or not target.startswith(b"/")
        ):
            raise _invalid_request()
        return begin

    def _learn(self, name: bytes) -> bytes:
        """Return what to write before the value of ``name``; nothing when it ends at this hop."""
        if not _TOKEN.fullmatch(name):
            raise _invalid_request()
        lowered = name.lower()
        written = b"" if lowered in _NOT_FORWARDED else b"\r\n" + lowered + b": "
        if len(self._known_names) < KNOWN_NAMES_MAX and len(name) <= KNOWN_NAME_BYTES_MAX:
            self._known_names[name] = written
        return written


def _without_named(headers: Sequence[Header]) -> list[Header]:
    """Return ``headers`` without ``connection`` and what it names."""
    return end_to_end([(name.lower(), value) for name, value in headers])


def _invalid_request() -> InvalidRequestError:
    return InvalidRequestError(
        "UPSTREAM_REQUEST_INVALID",
        "A request to the upstream needs a path that starts with a slash, header names that are"
        " tokens, and no line break, NUL or, in the path, space.",
    )
