"""The header fields of the store's answers, as they are told to callers."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Final

from multidict import CIMultiDict

from layer_gateway.ports.stores import Headers
from layer_kit.rpc.context import REQUEST_ID_HEADER

NOT_RELAYED: Final = frozenset(
    {b"content-length", b"date", b"server", REQUEST_ID_HEADER.encode("latin-1")}
)
"""Set anew for this hop."""

LOCATION: Final = b"location"
_ORIGIN: Final = re.compile(rb"(?:https?:)?//[^/?#]*/*", re.IGNORECASE)

FIELDS_REMEMBERED_MAX: Final = 256


@functools.lru_cache(FIELDS_REMEMBERED_MAX)
def relayed_fields(fields: Headers) -> Headers:
    """Return the end-to-end fields of an upstream answer; the same come over and over."""
    return tuple(_relayed(fields))


def relayed_headers(fields: Headers) -> CIMultiDict[str]:
    """Return the same for an answer that aiohttp sends."""
    return CIMultiDict(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in _relayed(fields)
    )


def _relayed(fields: Headers) -> Iterator[tuple[bytes, bytes]]:
    for name, value in fields:
        if name == LOCATION:
            yield name, _without_origin(value)
        elif name not in NOT_RELAYED:
            yield name, value


def _without_origin(location: bytes) -> bytes:
    """Point a location at whatever origin the caller has asked, which it alone may know.

    Clients refuse to poll another one, and what they send there would go past layer.
    """
    origin = _ORIGIN.match(location)
    return location if origin is None else b"/" + location[origin.end() :]
