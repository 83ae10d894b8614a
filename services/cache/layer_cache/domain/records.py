"""Records: near copies of what lives in the object store, by kind, scope and key."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from layer_cache.domain.limits import (
    RECORD_KEY_BYTES_MAX,
    RECORD_KEYS_PER_CALL_MAX,
    RECORD_SCOPE_BYTES_MAX,
)
from layer_cache.domain.rows import RowKey, namespace_prefix
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace

_CONTROL: Final = re.compile("[\0-\x1f\x7f]")
_EXPIRY: Final = struct.Struct(">Q")


class RecordKind(StrEnum):
    """What a record is; the value begins the name of its shelf."""

    SNAPSHOT = "snapshot"
    SEARCH_HISTORY = "search-history"
    CLICKSTREAM = "clickstream"
    CHUNK = "chunk"
    BLOB = "blob"


def shelf(kind: RecordKind, scope: str) -> Namespace:
    """Return what stands in the place of a namespace for the records of one scope.

    Raises:
        InvalidRequestError: ``SCOPE_INVALID``.
    """
    try:
        size_bytes = len(scope.encode())
    except UnicodeEncodeError:
        size_bytes = 0
    if not 1 <= size_bytes <= RECORD_SCOPE_BYTES_MAX or _CONTROL.search(scope):
        raise InvalidRequestError(
            "SCOPE_INVALID",
            f"scope must have 1 to {RECORD_SCOPE_BYTES_MAX} bytes and no control characters.",
            bytes_max=RECORD_SCOPE_BYTES_MAX,
        )
    return Namespace(f"{kind}/{scope}")  # no namespace of rows has a slash


def record_keys(shelf_: Namespace, keys: Sequence[bytes]) -> list[RowKey]:
    """Check keys and make them keys of the store, in the same order.

    Raises:
        InvalidRequestError: ``TOO_MANY_KEYS``, ``KEY_INVALID``.
    """
    if len(keys) > RECORD_KEYS_PER_CALL_MAX:
        raise InvalidRequestError(
            "TOO_MANY_KEYS",
            f"{len(keys)} keys are more than the {RECORD_KEYS_PER_CALL_MAX} of one call; split it.",
            count=len(keys),
            count_max=RECORD_KEYS_PER_CALL_MAX,
        )
    for key in keys:
        check_key(key, is_prefix=False)
    prefix = namespace_prefix(shelf_)
    return [RowKey(prefix + key) for key in keys]


def check_key(key: bytes, *, is_prefix: bool) -> None:
    """Check one key, or the beginning of one, which may be empty.

    Raises:
        InvalidRequestError: ``KEY_INVALID``.
    """
    if len(key) > RECORD_KEY_BYTES_MAX or not (key or is_prefix):
        raise InvalidRequestError(
            "KEY_INVALID",
            f"Each of keys must have 1 to {RECORD_KEY_BYTES_MAX} bytes.",
            bytes_max=RECORD_KEY_BYTES_MAX,
        )


def with_expiry(value: bytes, expires_ms: int) -> bytes:
    """Return what is stored for a value."""
    return _EXPIRY.pack(expires_ms) + value


def unexpired(stored: bytes, now_ms: int) -> memoryview | None:
    """Return the value out of what is stored, or None once it has expired."""
    if _EXPIRY.unpack_from(stored)[0] <= now_ms:
        return None
    return memoryview(stored)[_EXPIRY.size :]
