"""Read tokens: what a lookup hands out and a backfill brings back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from layer_kit.errors import InvalidRequestError

INCARNATION_BYTES: Final = 16
_LAYOUT: Final = struct.Struct(f">{INCARNATION_BYTES}sQQQ")


token_bytes: Final[Callable[[bytes, int, int, int], bytes]] = _LAYOUT.pack
"""Returns the token of these fields of a ``ReadToken``."""


class ReadToken(NamedTuple):
    """The state of the cache's order at the moment of a lookup."""

    incarnation: bytes
    """Which start of the process issued it."""

    sequence: int
    """The last number given to a fence, settlement or drop before the lookup read anything."""

    era: int
    """The current era then."""

    issued_ms: int
    """The process's monotonic clock then, in milliseconds."""

    def to_bytes(self) -> bytes:
        return token_bytes(*self)


def parse_token(token: bytes) -> ReadToken:
    """Read a token.

    Raises:
        InvalidRequestError: ``READ_TOKEN_INVALID``.
    """
    if len(token) != _LAYOUT.size:
        raise InvalidRequestError(
            "READ_TOKEN_INVALID", "The read token must be one that a lookup returned."
        )
    return ReadToken(*_LAYOUT.unpack(token))
