"""Keys: what both a folder and S3 can hold, checked before either sees it.

A key is up to 1024 bytes of UTF-8: segments of 1 to 255 bytes between single slashes, none of them
``.`` or ``..``, without control characters. No key may be the folder of another (``a`` beside
``a/b``): a folder refuses the second, S3 would keep both.
"""

from __future__ import annotations

import re
from typing import Final

from layer_kit.errors import InvalidRequestError, PayloadTooLargeError
from layer_objects.port import LIST_LIMIT_MAX, OBJECT_BYTES_MAX

KEY_BYTES_MAX: Final = 1024
SEGMENT_BYTES_MAX: Final = 255

_CONTROL: Final = re.compile("[\0-\x1f\x7f]")


def check_key(key: str) -> None:
    """Refuse what is not a key.

    Raises:
        InvalidRequestError: ``OBJECT_KEY_INVALID``.
    """
    segments = key.split("/")
    _check_text(key)
    if any(len(segment.encode()) > SEGMENT_BYTES_MAX for segment in segments):
        raise _invalid(key, f"has a segment over {SEGMENT_BYTES_MAX} bytes")
    if any(segment in {"", ".", ".."} for segment in segments):
        raise _invalid(key, "has a segment that is empty, '.' or '..'")


def check_prefix(prefix: str, *, may_be_empty: bool = True) -> None:
    """Refuse what no key could start with; errors as for :func:`check_key`."""
    _check_text(prefix)
    *folders, _ = prefix.split("/")
    if any(folder in {"", ".", ".."} for folder in folders):
        raise _invalid(prefix, "has a segment that is empty, '.' or '..'")
    if not prefix and not may_be_empty:
        raise _invalid(prefix, "is empty, which would mean everything")


def check_body(body: bytes) -> None:
    if len(body) > OBJECT_BYTES_MAX:
        raise too_large(len(body))


def check_range(start: int, length: int) -> None:
    if start < 0 or length < 1:
        raise range_invalid(start)
    if length > OBJECT_BYTES_MAX:
        raise too_large(length)


def check_after(after: str) -> None:
    """Refuse what has no place in the order of keys; it need not be a key."""
    _check_text(after)


def check_limit(limit: int) -> None:
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise InvalidRequestError(
            "OBJECT_LIMIT_INVALID",
            f"A page has 1 to {LIST_LIMIT_MAX} objects, not {limit}.",
            limit=limit,
        )


def check_conditions(if_match: str | None, *, if_absent: bool) -> None:
    if if_absent and if_match is not None:
        raise InvalidRequestError(
            "OBJECT_CONDITION_INVALID", "An object cannot be both absent and match; give one."
        )


def range_invalid(start: int) -> InvalidRequestError:
    return InvalidRequestError(
        "OBJECT_RANGE_INVALID",
        f"A range needs a start inside the object and at least one byte; {start} is not inside.",
        start=start,
    )


def too_large(size_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        "OBJECT_TOO_LARGE",
        f"An object, or a range of one, has at most {OBJECT_BYTES_MAX} bytes, not {size_bytes}.",
        size_bytes=size_bytes,
    )


def _check_text(text: str) -> None:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError as error:
        raise _invalid(text.encode(errors="replace").decode(), "is not UTF-8") from error
    if size_bytes > KEY_BYTES_MAX:
        raise _invalid(text[:KEY_BYTES_MAX], f"is over {KEY_BYTES_MAX} bytes")
    if _CONTROL.search(text):
        raise _invalid(text, "has a control character")


def _invalid(key: str, why: str) -> InvalidRequestError:
    return InvalidRequestError("OBJECT_KEY_INVALID", f"The key {key!r} {why}.", key=key)
