"""Trace ids that tell when they were made.

An id of W3C Trace Context is 16 bytes, of which the last 7 ought to be random. Those that layer
mints begin with the second in which they were made and a checksum of it, so that whoever looks for
their events knows where to begin; the other 10 bytes are random.
"""

from __future__ import annotations

import functools
import re
import zlib
from typing import Final

_TRACEPARENT: Final = re.compile(
    r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.IGNORECASE
)
RANDOM_BITS: Final = 80
_SECONDS_DIGITS: Final = 8
_CHECKED_DIGITS: Final = 12


def trace_id_of(traceparent: str) -> str | None:
    """Return the trace id of a ``traceparent``, in lower case; None when it is not valid."""
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or not found[1].strip("0") or not found[2].strip("0"):
        return None
    return found[1].lower()


def minted_trace_id(epoch_s: int, random_digits: str) -> str:
    """Return a new trace id.

    Args:
        random_digits: ``RANDOM_BITS`` in hexadecimal.
    """
    return _prefix(epoch_s) + random_digits


def minted_at_s(trace_id: str) -> int | None:
    """Return the epoch second in which layer made an id; None for an id of another's making."""
    seconds = trace_id[:_SECONDS_DIGITS]
    if trace_id[_SECONDS_DIGITS:_CHECKED_DIGITS] != _checksum(seconds):
        return None
    return int(seconds, 16)


@functools.lru_cache(maxsize=1)
def _prefix(epoch_s: int) -> str:
    seconds = f"{epoch_s & 0xFFFFFFFF:08x}"
    return seconds + _checksum(seconds)


def _checksum(seconds: str) -> str:
    return f"{zlib.crc32(seconds.encode()) & 0xFFFF:04x}"
