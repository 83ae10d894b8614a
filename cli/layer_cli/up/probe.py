"""Asking a process whether it is ready, without an HTTP client's weight in the supervisor."""

from __future__ import annotations

import asyncio
from typing import Final

PROBE_S_MAX: Final = 2.0
REQUEST: Final = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def is_ready(ops_address: str) -> bool:
    """Tell whether ``GET http://<ops_address>/readyz`` answers 200 within ``PROBE_S_MAX``."""
    host, _, port = ops_address.rpartition(":")
    try:
        async with asyncio.timeout(PROBE_S_MAX):
            reader, writer = await asyncio.open_connection(host.strip("[]"), port)
            try:
                writer.write(REQUEST)
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, ValueError):  # ValueError: the line is longer than the reader's buffer
        return False
    return status_line.split()[1:2] == [b"200"]
