"""The state of an index, out of the store's metadata of a namespace."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

UNINDEXED_BYTES: Final = "unindexed_bytes"


class IndexStatus(StrEnum):
    """What the store says of an index; the values are its own, except for the last."""

    UP_TO_DATE = "up-to-date"
    UPDATING = "updating"
    UNKNOWN = "unknown"


_ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()


def index_status(metadata: bytes) -> IndexStatus:
    """Read the state of the index out of a metadata answer.

    A status of another name, or none, is ``UPDATING`` where any ``unindexed_bytes`` at any depth
    is not zero, and ``UNKNOWN`` otherwise: not every store says it in the same place.

    Raises:
        msgspec.DecodeError: When it is no JSON.
    """
    found = _ANY.decode(metadata)
    index = found.get("index") if isinstance(found, dict) else None
    status = index.get("status") if isinstance(index, dict) else None
    if status in (IndexStatus.UP_TO_DATE, IndexStatus.UPDATING):
        return IndexStatus(status)
    return IndexStatus.UPDATING if _has_unindexed(found) else IndexStatus.UNKNOWN


def _has_unindexed(value: Any) -> bool:
    if isinstance(value, dict):
        waiting = value.get(UNINDEXED_BYTES)
        if isinstance(waiting, int | float) and waiting != 0:
            return True
        return any(_has_unindexed(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_has_unindexed(inner) for inner in value)
    return False
