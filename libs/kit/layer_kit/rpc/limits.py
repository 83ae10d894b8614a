"""Transport settings that both ends of a channel agree on (docs/reference/http.md, "Limits")."""

from __future__ import annotations

from typing import Final

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
"""One message. Bigger payloads travel as streams of messages."""

CONCURRENT_CALLS_MAX: Final = 4096
"""Calls that one server has in hand; further ones are refused with ``RESOURCE_EXHAUSTED``."""

ChannelOptions = tuple[tuple[str, int | str], ...]

TRANSPORT_OPTIONS: Final[ChannelOptions] = (
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
)
SERVER_OPTIONS: Final[ChannelOptions] = (
    *TRANSPORT_OPTIONS,
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # On a machine without time to spare pings come late and together; closing the connection for
    # that would end every call on it.
    ("grpc.http2.max_ping_strikes", 0),
)
CLIENT_OPTIONS: Final[ChannelOptions] = (
    *TRANSPORT_OPTIONS,
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A service that restarts is back in a second; the default backoff would wait for two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)
