"""Which replica pushes batches, and how long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from layer_kit.errors import UnavailableError
from layer_runtime.application.pushing import PushBatches
from layer_runtime.domain.functions import FunctionId, FunctionSpec, Schedule, Worker
from layer_runtime.domain.items import Claim, Failure, ItemKey, Reference, Result
from layer_runtime.ports.functions import Function
from layer_runtime.ports.workers import Answer

pytestmark = pytest.mark.asyncio

SPEC = FunctionSpec(worker=Worker(url="http://worker"), schedule=Schedule())


def function(name: str, spec: FunctionSpec = SPEC, *, is_window_open: bool = False) -> Function:
    return Function(
        number=len(name),
        id=FunctionId(name),
        spec=spec,
        is_paused=False,
        created_at_ms=0,
        updated_at_ms=0,
        sweep_count=0,
        sweep_failures=0,
        swept_at_ms=None,
        active_namespaces=(),
        is_window_open=is_window_open,
    )


@dataclass
class Everything:
    """A database whose queue never ends, and a worker that takes a batch whenever it may."""

    known: list[Function] = field(default_factory=lambda: [function("f")])
    is_ours: bool = True
    is_away: bool = False
    completed: list[Sequence[Result]] = field(default_factory=list)
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    handed_in: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def all(self) -> Sequence[Function]:
        if self.is_away:
            raise UnavailableError("DATABASE_DOWN", "It is away.")
        return self.known

    async def take_duty(self, *_: object) -> bool:
        return self.is_ours

    async def claim(self, function_id: str, worker: str, **_: object) -> Sequence[Claim]:
        key = ItemKey("n", str(len(self.completed)))
        return [Claim(key=key, lease=1, inputs={}, digest=b"")]

    async def complete(self, function_id: str, worker: str, results: Sequence[Result]) -> None:
        self.completed.append(results)
        self.handed_in.release()

    async def fail(self, *_: object) -> int:
        return 0

    async def run(self, function: Function, claims: Sequence[Claim]) -> Answer:
        await self.turns.acquire()
        results = [Result(item=Reference(claim.key), attributes={}) for claim in claims]
        return Answer(results=results, failures=list[Failure]())

    async def let_run(self, count: int) -> None:
        """Let the worker answer so many batches, and wait until they are handed in."""
        for _ in range(count):
            self.turns.release()
        for _ in range(count):
            await self.handed_in.acquire()


def pushes_of(everything: Everything) -> PushBatches:
    parts: Any = everything
    return PushBatches(
        functions=parts,
        claim_items=parts.claim,
        hold_items=parts,
        complete_items=parts.complete,
        workers=parts,
        replica="r",
        pushed=lambda *_: None,
    )


def open_slots(pushes: PushBatches) -> int:
    return sum(len(slots) for slots in pushes._slots.values())


async def settled(pushes: PushBatches) -> None:
    """Wait until no slot is open any more."""
    slots = [slot for slots in pushes._slots.values() for slot in slots]
    if slots:
        await asyncio.wait(slots)


async def test_a_slot_ends_after_its_batch_when_another_replica_pushes() -> None:
    everything = Everything()
    pushes = pushes_of(everything)
    await pushes.turn()
    await everything.let_run(3)
    assert open_slots(pushes) == 1  # the queue never ends
    everything.is_ours = False
    await pushes.turn()
    await everything.let_run(1)
    await settled(pushes)
    assert len(everything.completed) == 4


async def test_slots_end_when_nobody_can_say_whose_duty_it_is() -> None:
    everything = Everything()
    pushes = pushes_of(everything)
    await pushes.turn()
    await everything.let_run(1)
    everything.is_away = True
    with pytest.raises(UnavailableError):
        await pushes.turn()
    await everything.let_run(1)
    await settled(pushes)


async def test_nothing_is_kept_of_functions_that_are_gone() -> None:
    everything = Everything(known=[function("f"), function("other")])
    pushes = pushes_of(everything)
    await pushes.turn()
    await everything.let_run(2)
    everything.known = []
    await pushes.turn()
    assert len(pushes._slots) == 2  # their batches are still on their way
    await everything.let_run(2)
    await settled(pushes)
    await pushes.turn()
    assert not pushes._slots
    assert not pushes._duties


async def test_a_function_with_a_schedule_is_pushed_to_while_its_window_is_open() -> None:
    spec = replace(SPEC, schedule=Schedule(cron="0 3 * * *"))
    everything = Everything(known=[function("f", spec)])
    pushes = pushes_of(everything)
    await pushes.turn()
    assert open_slots(pushes) == 0
    everything.known = [function("f", spec, is_window_open=True)]
    await pushes.turn()
    await everything.let_run(2)
    everything.known = [function("f", spec)]
    await pushes.turn()
    await everything.let_run(1)
    await settled(pushes)
    assert len(everything.completed) == 3
