"""Answers that come as nearly all do: a whole head at once, and a body whose length it tells.

A store answers with the same head over and over, but for that length. So the parser reads each head
once, and it is remembered without its length; the body needs no parser, only to be counted. What is
read here is a strict subset of what the reader reads, and reads the same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

import msgspec

from layer_kit.errors import LayerError
from layer_upstream.headers import Header
from layer_upstream.places import Places
from layer_upstream.reader import STATUSES_WITHOUT_BODY, ResponseReader
from layer_upstream.templates import HeadTemplate, template_of

HEADS_REMEMBERED_MAX: Final = 512
HEAD_BYTES_MAX: Final = 4096
"""Longer heads are left to the reader, so that what is remembered stays below a few MiB."""

_END: Final = b"\r\n\r\n"


class PlainHead(msgspec.Struct, frozen=True):
    """What a head says beside the length; all answers that begin with it share it."""

    status: int
    headers: Sequence[Header]
    can_keep_alive: bool


class PlainReader:
    """Reads the answers of one connection, which mostly begin like the one before.

    Args:
        data: Where they are received.
        places: Where the rest of those is received that do not come at once.
    """

    __slots__ = ("_data", "_head", "_places", "_template", "_view")

    def __init__(self, data: bytearray, places: Places) -> None:
        self._data = data
        self._places = places
        self._view = memoryview(data)
        self._template: HeadTemplate | None = None
        self._head: PlainHead | None = None

    def read(
        self, size_bytes: int, body_bytes_max: int
    ) -> tuple[PlainHead, bytes | bytearray, memoryview | None] | None:
        """Return the head of an answer, its body, and where the rest of that is to be received.

        None when what has come first of an answer is no such head, or more than the answer, or when
        its body is to be longer than ``body_bytes_max``.

        Args:
            size_bytes: How much has come, at the beginning of the buffer.
        """
        template, head, found = self._template, self._head, None
        if template is not None and head is not None:
            start = template.start_of_whole(self._data, size_bytes)
            if start is not None and size_bytes - start <= body_bytes_max:  # as is usual
                return head, bytes(self._view[start:size_bytes]), None
            found = template.match(self._data)
        start, body_bytes = found or self._read_head(size_bytes)
        head, came_bytes = self._head, size_bytes - start
        if head is None or not 0 <= came_bytes <= body_bytes <= body_bytes_max:
            return None
        if came_bytes == body_bytes:
            return head, bytes(self._view[start:size_bytes]), None
        body = self._places.take(body_bytes)
        body[:came_bytes] = self._view[start:size_bytes]
        return head, body, memoryview(body)[came_bytes:]

    def _read_head(self, size_bytes: int) -> tuple[int, int]:
        """Return where the head ends, and the length of the body."""
        data = self._data
        start = data.find(_END, 0, min(size_bytes, HEAD_BYTES_MAX)) + len(_END)
        found = template_of(bytes(data[:start]))
        if found is None:
            self._template = self._head = None
            return start, 0
        self._template, body_bytes = found
        self._head = _read_head(self._template.zero)
        return start, body_bytes


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
