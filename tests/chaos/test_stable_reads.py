"""Stable reads (docs/decisions/0019-stable-reads.md) under clocks that step and links that dawdle.

Several real gateways, in this process, write and query through links of their own over the real
store, whose index lags. ``LAYER_TEST_SEED`` repeats a program and ``LAYER_TEST_CHECKER_OPERATIONS``
sets its length. Gateways with one rule taken out have to be caught.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from layer_gateway.application.cuts import Cut
from layer_gateway.application.multi_querying import MultiQueryAnswer, QueryLegs
from layer_gateway.application.plans import MakePlans, Plan
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.watched import Watched
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus
from tests.chaos.stable_gateways import StableParts
from tests.chaos.stable_program import run_stable_program

log = structlog.get_logger(__name__)

OPERATIONS_COUNT = int(os.environ.get("LAYER_TEST_CHECKER_OPERATIONS") or 800)
SEED = int(os.environ.get("LAYER_TEST_SEED") or secrets.randbelow(2**32))
BROKEN_OPERATIONS_COUNT_MAX = 10_000
CUT_SHARE_MIN = 0.03
"""Below it nothing was tested. A slow machine finds the index up to date more often."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["shared", "alone"])
async def test_what_is_cut_is_the_state_at_the_watermark(tmp_path: Path, mode: str) -> None:
    outcome = await run_stable_program(
        tmp_path, seed=SEED, operations_count=OPERATIONS_COUNT, is_shared=mode == "shared"
    )

    log.info("stability_checked", outcome=str(outcome))
    assert outcome.violations == [], "\n".join(outcome.violations)
    least = outcome.operations_count * CUT_SHARE_MIN
    assert min(outcome.cut_count, outcome.rows_count, outcome.hidden_count) > least, (
        f"no test: {outcome}"
    )


class WithoutFilter(MakePlans):
    """Tells the watermark and does not cut there."""

    async def __call__(self, namespace: Namespace, cut: Cut, caller: Caller) -> Plan:
        plan = await super().__call__(namespace, cut, caller)
        return msgspec.structs.replace(plan, is_stamped=False)


class CutPerLeg(QueryLegs):
    """Runs one leg after the other, each where the watermark is by then."""

    async def _leg_by_leg(self, asked: Any) -> MultiQueryAnswer:
        slots = asyncio.Semaphore(1)
        results = []
        for leg, rank_by in zip(asked.query.legs, asked.rankings, strict=True):
            later = replace(asked, cut=self.watermarks.cut(asked.namespace))
            results.append((await self._leg(1, later, leg, rank_by, slots)).rows)
        return MultiQueryAnswer(results=results, stable_as_of_ms=asked.cut.stable_as_of_ms)


class StampsOfTheWall(Stamps):
    """Stamps with whatever the clock says."""

    def now_ms(self) -> int:
        return self._wall_clock_ms()


class WithoutFlights(Stamps):
    """Forgets what is on its way."""

    def earliest_in_flight(self, namespace: Namespace) -> int | None:
        return None


class TimedByTheAnswer(Watermarks):
    """Takes the time when the store has answered, and not when it was asked."""

    async def _status(self, namespace: Namespace, watched: Watched) -> str:
        status = await super()._status(namespace, watched)
        if status == IndexStatus.UP_TO_DATE:
            now_ms = self._stamps.now_ms()
            self._advance(namespace, watched, now_ms - self._settings.safety_margin_ms)
        return status


@pytest.mark.parametrize(
    ("parts", "mode"),
    [
        (StableParts(plans=WithoutFilter), "shared"),
        (StableParts(query_legs=CutPerLeg), "shared"),
        (StableParts(margin_is_kept=False), "shared"),
        (StableParts(watermarks=TimedByTheAnswer), "shared"),
        (StableParts(stamps=StampsOfTheWall), "alone"),
        (StableParts(stamps=WithoutFlights), "alone"),
    ],
    ids=lambda value: value.broken if isinstance(value, StableParts) else "",
)
async def test_a_gateway_without_one_of_the_rules_is_caught(
    tmp_path: Path, parts: StableParts, mode: str
) -> None:
    outcome = await run_stable_program(
        tmp_path,
        seed=SEED,
        operations_count=BROKEN_OPERATIONS_COUNT_MAX,
        is_shared=mode == "shared",
        parts=parts,
    )

    assert outcome.violations, f"not caught: {outcome}"
