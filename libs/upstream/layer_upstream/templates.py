"""Heads that come over and over but for the length of the body they announce."""

from __future__ import annotations

from typing import Final

LENGTH_DIGITS_MAX: Final = 15
_LENGTH: Final = b"\r\ncontent-length:"


class HeadTemplate:
    """A head around the digits of its length.

    Attributes:
        zero: The head as it would be without a body; what follows from all but the length follows
            from it.
    """

    __slots__ = ("_prefix", "_suffix", "zero")

    def __init__(self, prefix: bytes, suffix: bytes) -> None:
        self._prefix = prefix
        self._suffix = suffix
        self.zero = b"%b0%b" % (prefix, suffix)

    def match(self, data: bytes | bytearray) -> tuple[int, int] | None:
        """Return where the body begins in ``data``, and how long it is.

        None when ``data`` begins with another head.
        """
        prefix, suffix = self._prefix, self._suffix
        if not data.startswith(prefix):
            return None
        begin = len(prefix)
        end = data.find(b"\r", begin, begin + LENGTH_DIGITS_MAX + 1)
        if end < 0 or not data.startswith(suffix, end):
            return None
        digits = data[begin:end]
        if not digits.isdigit():
            return None
        return end + len(suffix), int(digits)


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
