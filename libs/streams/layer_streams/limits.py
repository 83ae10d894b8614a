"""Bounds on what a peer may send, and on how long it may stay silent."""

from __future__ import annotations

from typing import Final

FRAME_BYTES_MAX: Final = 128 * 1024
"""Of a frame's payload; it is kept until it is whole. A message in one frame is written at once and
wakes its reader once; one with a hundred rows of a kilobyte is as large."""

HEADER_BYTES_MAX: Final = 16 * 1024
"""Of one header list, compressed or not."""

HEADER_FRAMES_MAX: Final = 16
"""Frames over which it may be spread."""

STREAM_WINDOW_BYTES: Final = 1024 * 1024
"""What a peer may send on a stream before it is told that there is room again."""

CONNECTION_WINDOW_BYTES: Final = 4 * 1024 * 1024
STREAMS_MAX: Final = 64
"""Streams that are open on one connection."""

CONNECTIONS_MAX: Final = 1024
REPLIES_UNREAD_MAX: Final = 100
"""Replies to a peer that reads none of them."""

TICK_S: Final = 1.0
HANDSHAKE_S_MAX: Final = 5.0
LINGER_S_MAX: Final = 1.0
"""For a peer to read why the connection ends."""

SEND_S_MAX: Final = 30.0
"""For a peer to make room for one message."""

CLIENT_KEEPALIVE_S: Final = 20.0
SERVER_KEEPALIVE_S: Final = 60.0
KEEPALIVE_ANSWER_S_MAX: Final = 5.0
