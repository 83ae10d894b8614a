"""What is wrong with heads."""

from __future__ import annotations

from typing import Final

from aiohttp.http_exceptions import LineTooLong

from layer_gateway.http.heads import Head
from layer_kit.errors import HeadTooLargeError, LayerError, MalformedRequestError

HEAD_BYTES_MAX: Final = 64 * 1024
"""The target and all headers of a request; the parser stops at this many in any one of them."""

TOO_MANY_HEADERS: Final = "Too many headers"
"""How the parser, which takes 128, begins to say so."""


def check_head(head: Head) -> None:
    """Refuse a request whose target and headers are too long together.

    Raises:
        HeadTooLargeError: ``HEAD_TOO_LARGE``.
    """
    if head.size_bytes > HEAD_BYTES_MAX:
        raise _head_too_large()


def unreadable(exc: BaseException | None, message: str) -> LayerError:
    """Return the error for what aiohttp's parser refused.

    Args:
        message: What it said.
    """
    if isinstance(exc, LineTooLong) or TOO_MANY_HEADERS in message:
        return _head_too_large()
    first_line = message.partition("\n")[0].rstrip(":")
    return MalformedRequestError("HTTP_MALFORMED", f"This is not HTTP: {first_line}.")


def _head_too_large() -> HeadTooLargeError:
    return HeadTooLargeError(
        "HEAD_TOO_LARGE",
        f"The target and the headers of a request are over {HEAD_BYTES_MAX} bytes or 128 headers.",
        bytes_max=HEAD_BYTES_MAX,
    )
