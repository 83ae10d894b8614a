"""Moments: milliseconds since 1970 beside RFC 3339 in JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def rfc3339(epoch_ms: int) -> str | None:
    """Return a moment as text; None outside the years 1 to 9999, which the text cannot say."""
    try:
        moment = _EPOCH + epoch_ms * _MILLISECOND
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch_ms(text: str) -> int | None:
    """Read a moment, in UTC where it names no zone; finer parts are cut off. None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND
