"""When cron expressions fire, and which are none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.schedules import CRON_LENGTH_MAX, check_cron, next_firing

NOON = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)  # a Saturday, the day before a change of clocks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 3 * * *", "2026-03-29T03:00:00+00:00"),
        ("*/15 * * * *", "2026-03-28T12:15:00+00:00"),
        ("30 6 * * MON", "2026-03-30T06:30:00+00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00+00:00"),
        ("CRON_TZ=America/New_York 0 9 * * *", "2026-03-28T13:00:00+00:00"),
        # Europe has no half past two that night, so it fires as soon as it is past that.
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29T01:00:00+00:00"),
    ],
)
def test_an_expression_fires_at_its_next_time(text: str, expected: str) -> None:
    check_cron(text, "cron")
    assert next_firing(text, NOON).isoformat() == expected


@given(
    text=st.sampled_from(["* * * * *", "7 */5 * * *", "CRON_TZ=Europe/Berlin 15 2 * * *"]),
    offset_s=st.integers(0, 400 * 86_400),
)
def test_firings_come_one_after_another_wherever_one_begins(text: str, offset_s: int) -> None:
    start = NOON + timedelta(seconds=offset_s)
    moments = [start]
    for _ in range(4):
        moments.append(next_firing(text, moments[-1]))
    assert all(earlier < later for earlier, later in pairwise(moments))
    in_between = start + (moments[1] - start) / 2
    assert next_firing(text, in_between.astimezone(ZoneInfo("Asia/Tokyo"))) == moments[1]


@pytest.mark.parametrize(
    "text",
    [
        "0 3 * *",
        "0 0 3 * * *",
        "61 * * * *",
        "@daily",
        "CRON_TZ=Mars/Olympus 0 3 * * *",
        "CRON_TZ= 0 3 * * *",
        "CRON_TZ=../etc/passwd 0 3 * * *",
        "CRON_TZ=Europe/Berlin",
        "0 0 30 2 *",
        "0 3 * * *" + " " * CRON_LENGTH_MAX,
    ],
)
def test_what_never_fires_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_cron(text, "spec.schedule.cron")
    assert caught.value.reason == "SPEC_INVALID"
    assert caught.value.metadata["field"] == "spec.schedule.cron"
