"""Answers that come as nearly all do: a whole head at once, and a body whose length it tells.

A store answers with the same head over and over, but for that length. So the parser reads each head
once, and it is remembered without its length; the body needs no parser, only to be counted. What is
read here is a strict subset of what the reader reads, and reads the same.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from layer_kit.errors import LayerError
from layer_upstream.headers import Header
from layer_upstream.reader import STATUSES_WITHOUT_BODY, ResponseReader

HEADS_REMEMBERED_MAX: Final = 512
HEAD_BYTES_MAX: Final = 4096
"""Longer heads are left to the reader, so that what is remembered stays below a few MiB."""

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n", re.IGNORECASE)


class PlainHead(NamedTuple):
    """What a head says beside the length; all answers that begin with it share it."""

    status: int
    headers: Sequence[Header]
    can_keep_alive: bool


def read_plain(
    data: bytearray, size_bytes: int, *, body_bytes_max: int
) -> tuple[PlainHead, bytes | bytearray, memoryview | None] | None:
    """Return the head of an answer, its body, and where the rest of that is to be received.

    None when what came first of an answer is no such head, or more than the answer, or when its
    body is to be longer than ``body_bytes_max``.

    Args:
        size_bytes: How much of ``data`` has come.
    """
    start = data.find(_END, 0, min(size_bytes, HEAD_BYTES_MAX)) + len(_END)
    length = _LENGTH.search(data, 0, start)
    if length is None:
        return None
    begin, end = length.span(1)
    head = _read_head(b"".join((data[:begin], b"0", data[end:start])))
    body_bytes, came_bytes = int(length[1]), size_bytes - start
    if head is None or not came_bytes <= body_bytes <= body_bytes_max:
        return None
    came = memoryview(data)[start:size_bytes]
    if came_bytes == body_bytes:  # as is usual
        return head, bytes(came), None
    body = bytearray(body_bytes)
    body[:came_bytes] = came
    return head, body, memoryview(body)[came_bytes:]


@functools.lru_cache(HEADS_REMEMBERED_MAX)
def _read_head(head: bytes) -> PlainHead | None:
    """Read the head of an answer whose body has no bytes; None when it is not plain."""
    reader = ResponseReader(HEAD_BYTES_MAX)
    reader.begin(is_head=False)
    try:
        reader.feed(memoryview(head))
    except LayerError:
        return None  # which the reader will find again, and say
    if not reader.is_complete or reader.status in STATUSES_WITHOUT_BODY:
        return None
    return PlainHead(reader.status, tuple(reader.headers), reader.can_keep_alive)
