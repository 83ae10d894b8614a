"""Schedules: when a cron expression fires.

An expression has five fields, as crontab(5) has them, and is in UTC unless ``CRON_TZ=<zone>``
stands before it.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from layer_kit.errors import InvalidRequestError

CRON_LENGTH_MAX: Final = 256
ZONE_PREFIX: Final = "CRON_TZ="
FIELDS_COUNT: Final = 5


def check_cron(text: str, where: str) -> None:
    """Check an expression.

    Raises:
        InvalidRequestError: ``SPEC_INVALID``, naming ``where``.
    """
    if len(text) > CRON_LENGTH_MAX:
        raise _invalid(where, f"has more than {CRON_LENGTH_MAX} characters")
    try:
        next_firing(text, datetime.now(UTC))
    except (CronSimError, ZoneInfoNotFoundError, ValueError, StopIteration, OSError) as error:
        cause = str(error).strip("'\"") or "it never fires"
        raise _invalid(
            where, f"{text!r} is not five fields of crontab(5) that fire some day: {cause}"
        ) from error


def next_firing(text: str, after: datetime) -> datetime:
    """Return the first moment after another at which a checked expression fires."""
    zone: tzinfo = UTC
    fields = text.split()
    if fields and fields[0].startswith(ZONE_PREFIX):
        zone = ZoneInfo(fields.pop(0).removeprefix(ZONE_PREFIX))
    if len(fields) != FIELDS_COUNT:
        raise ValueError(f"it has {len(fields)} fields")
    return next(CronSim(" ".join(fields), after.astimezone(zone))).astimezone(UTC)


def _invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("SPEC_INVALID", f"{where} {rule}.", field=where)
