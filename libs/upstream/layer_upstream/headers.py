"""Header fields that end at this hop (RFC 9110 §7.6.1), and the head of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from layer_kit.errors import InvalidRequestError

Header = tuple[bytes, bytes]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

_NOT_FORWARDED: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect"}
"""Of a request we also write the framing ourselves, and the body is always at hand."""

_NAMING_NOTHING: Final = frozenset({b"keep-alive", b"close"})
"""The usual values of ``connection``, which name no field to leave out."""

KNOWN_NAMES_MAX: Final = 1024
KNOWN_NAME_BYTES_MAX: Final = 64
"""Header names whose form on the wire is remembered; other ones are worked out each time."""

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_BODILESS_METHODS: Final = frozenset({b"GET", b"HEAD"})
"""Their empty body is not announced; some servers refuse ``content-length: 0`` on them."""


def connection_tokens(headers: Iterable[Header]) -> frozenset[bytes]:
    """Return what the ``connection`` fields of ``headers`` name, in lower case.

    Names of ``headers`` must be in lower case.
    """
    return frozenset(
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    )


def end_to_end(headers: list[Header]) -> list[Header]:
    """Return ``headers``, whose names are in lower case, without those that end at this hop."""
    kept = [header for header in headers if header[0] not in HOP_BY_HOP]
    if len(kept) == len(headers):
        return headers
    named = connection_tokens(headers)
    return [header for header in kept if header[0] not in named]


class RequestHead:
    """Writes request heads for one origin."""

    def __init__(self, authority: bytes, path_prefix: bytes) -> None:
        self._path_prefix = path_prefix
        self._after_target = b" HTTP/1.1\r\nhost: " + authority
        self._known_names: dict[bytes, bytes] = {}

    def encode(
        self, method: bytes, target: bytes, headers: Sequence[Header], body_bytes: int
    ) -> bytes:
        """Return the head, blank line included.

        Raises:
            InvalidRequestError: ``UPSTREAM_REQUEST_INVALID`` when a part would break the framing.
        """
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
                return self.encode(method, target, _without_named(headers), body_bytes)
        line_count = (len(pieces) + 1) // 2  # a header is two pieces; there are three more lines
        if body_bytes or method not in _BODILESS_METHODS:
            pieces.append(b"\r\ncontent-length: %d" % body_bytes)
            line_count += 1
        pieces.append(b"\r\n\r\n")
        head = b"".join(pieces)
        if (
            head.count(b"\n") != line_count
            or head.count(b"\r") != line_count
            or head.count(b"\0")  # counting takes a tenth of what ``in`` takes here
            or target.count(b" ")
            or method.count(b" ")
            or not target.startswith(b"/")
        ):
            raise _invalid_request()
        return head

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
