"""Header fields that end at this hop (RFC 9110 §7.6.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

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
