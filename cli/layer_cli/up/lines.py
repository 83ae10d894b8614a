"""Lines out of a pipe, whatever a process writes into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

LINE_BYTES_MAX: Final = 64 * 1024
CHUNK_BYTES: Final = 64 * 1024


async def iter_lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield each line without its end; cut one that is longer than ``LINE_BYTES_MAX``."""
    rest = b""
    while chunk := await stream.read(CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        while len(rest) >= LINE_BYTES_MAX:
            yield rest[:LINE_BYTES_MAX]
            rest = rest[LINE_BYTES_MAX:]
    if rest:
        yield rest
