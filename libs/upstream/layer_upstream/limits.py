"""Every bound of the client, by name and unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BODY_BYTES_MAX: Final = 512 * 1024 * 1024
"""The largest answer that is ever held whole; a larger one must be streamed."""

HEADERS_COUNT_MAX: Final = 256
"""Header lines of one answer, interim answers included."""

READ_BUFFER_BYTES: Final = 256 * 1024
"""Bytes taken from a socket at once, into one buffer that all connections of a client share."""

FIRST_READ_BYTES: Final = 16 * 1024
"""Bytes of an answer taken at first: what follows them can be received where it stays, if the head
tells how much that is."""

TICK_S: Final = 0.05
"""How often deadlines are looked at, and so how late one may be noticed; a silence is counted from
the first look at it, and may be noticed another tick later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLimits:
    """Bounds of one client.

    Attributes:
        connections_max: Open connections, those being dialled included.
        waiters_max: Requests that may wait for a connection; the next one is refused.
        connect_timeout_s: From the name lookup to the end of the TLS handshake.
        read_timeout_s: Longest silence: until the first byte, between two bytes, and of a consumer
            that has stopped taking a streamed body.
        total_timeout_s: From the call to the answer being handed over, waiting and dialling
            included. What is streamed after that is bound by ``read_timeout_s`` alone.
        idle_timeout_s: How long an unused connection is kept. Below what load balancers keep
            (60 s is usual), so that we and not they close it.
        header_bytes_max: Head of an answer, interim answers included; also its trailer.
        buffer_bytes_max: A body up to this size is handed over whole.
    """

    connections_max: int = 256
    waiters_max: int = 4096
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    total_timeout_s: float = 120.0
    idle_timeout_s: float = 50.0
    header_bytes_max: int = 64 * 1024
    buffer_bytes_max: int = 1024 * 1024
