"""The promise of the cache, against a model of everything around it.

Goal: once any gateway acknowledged a write, no lookup returns an older version of that row, and
no lookup ever returns a row that upstream never held.

Method: a state machine plays upstream, several gateways that keep to the contract of
cache.proto, and the network between them, which delays, loses and repeats calls. After every step
all rows are looked up and compared with what was acknowledged. The same machine is then run
against caches with one rule taken out, and must catch each of them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from layer_cache.adapters.memory import MemoryLedger
from layer_cache.domain.eras import Eras
from layer_cache.domain.fences import Fences
from layer_cache.domain.members import Members
from layer_cache.domain.order import Order

World = type[RuleBasedStateMachine]
STEPS_COUNT = 60


def test_the_promise_holds_whatever_is_delayed_lost_or_restarted(world: World) -> None:
    run_state_machine_as_test(
        world,
        settings=settings(
            max_examples=200,
            stateful_step_count=STEPS_COUNT,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def always(answer: object) -> Callable[..., object]:
    return lambda *_arguments, **_options: answer


def without_backfill_refusal(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Order, "admits", always(answer=True))


def without_touches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Order, "touch", always(None))


def without_overlap(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Fences, "_spoil", always(None))


def without_epochs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Eras, "epoch", always(0))


def without_suspension(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Members, "is_suspended", always(answer=False))


def without_probation(patch: pytest.MonkeyPatch) -> None:
    async def forget(_ledger: MemoryLedger, _member_id: str) -> None:
        return None

    patch.setattr(MemoryLedger, "add_member", forget)


@pytest.mark.parametrize(
    "break_rule",
    [
        without_backfill_refusal,
        without_touches,
        without_overlap,
        without_epochs,
        without_suspension,
        without_probation,
    ],
)
def test_a_cache_without_one_of_its_rules_is_caught(
    break_rule: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    break_rule(monkeypatch)

    with pytest.raises(AssertionError, match=r"never held|older than"):
        run_state_machine_as_test(
            world,
            settings=settings(
                max_examples=2000,
                stateful_step_count=STEPS_COUNT,
                deadline=None,
                phases=[Phase.generate],
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
