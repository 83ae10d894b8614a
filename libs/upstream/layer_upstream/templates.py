"""Heads that come over and over but for the length of the body they announce."""

from __future__ import annotations

from typing import Final

LENGTH_DIGITS_MAX: Final = 15
_LENGTH: Final = b"\r\ncontent-length:"


class HeadTemplate:
    """A head around the digits of its length, and how the bodies begin behind it.

    Attributes:
        zero: The head as it would be without a body; what follows from all but the length follows
            from it.
    """

    __slots__ = (
        "_begin",
        "_beginning_bytes",
        "_body",
        "_prefix",
        "_rest",
        "_start",
        "_suffix",
        "_suffix_end",
        "_suffix_size",
        "zero",
    )

    def __init__(self, prefix: bytes, suffix: bytes, body: bytes = b"") -> None:
        self._prefix = prefix
        self._suffix = suffix
        self._body = body
        self._rest = suffix + body
        self._begin = len(prefix)
        self._suffix_size = len(suffix)
        self._start = self._begin + self._suffix_size
        self._beginning_bytes = self._start + len(body)
        self._suffix_end = self._begin + LENGTH_DIGITS_MAX + self._suffix_size
        self.zero = b"%b0%b" % (prefix, suffix)

    def then(self, body: bytes) -> HeadTemplate:
        """Return the same of messages whose body begins with ``body``."""
        return HeadTemplate(self._prefix, self._suffix, body)

    def start_of_whole(self, data: bytes | bytearray, size_bytes: int) -> int | None:
        """Return where the body begins in a message that has come whole, and nothing behind it.

        None for all others, and where the length has more or fewer digits than the one that
        :meth:`match` found last.

        Args:
            size_bytes: How much has come, at the beginning of ``data``.
        """
        start = self._start
        beginning = b"%b%d%b" % (self._prefix, size_bytes - start, self._rest)
        if len(beginning) != self._beginning_bytes:
            return None  # that many digits begin the body elsewhere
        return start if data.startswith(beginning) else None

    def match(self, data: bytes | bytearray) -> tuple[int, int] | None:
        """Return where the body begins in ``data``, and how long it is.

        None when ``data`` begins with another head, or its body otherwise.
        """
        if not data.startswith(self._prefix):
            return None
        begin = self._begin
        end = data.find(self._suffix, begin, self._suffix_end)
        digits = data[begin:end]
        if end < 0 or not digits.isdigit():
            return None
        self._start = start = end + self._suffix_size
        self._beginning_bytes = start + len(self._body)
        if self._body and not data.startswith(self._body, start):
            return None
        return start, int(digits)


def template_of(head: bytes) -> tuple[HeadTemplate, int] | None:
    """Return the template of a whole head that tells a length, and that length; None of others."""
    begin = head.lower().find(_LENGTH)
    if begin < 0:
        return None
    begin += len(_LENGTH)
    end = head.find(b"\r", begin)
    value = head[begin:end]
    digits = value.strip(b" \t")
    if not digits.isdigit() or len(digits) > LENGTH_DIGITS_MAX:
        return None
    begin += value.index(digits)
    return HeadTemplate(head[:begin], head[begin + len(digits) :]), int(digits)
