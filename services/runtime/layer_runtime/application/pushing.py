"""Batches pushed to the workers of functions that say where these are.

One replica at a time pushes for a function. It keeps at most as many batches on their way as the
function allows; each slot claims, pushes and hands in until there is nothing left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from layer_kit.errors import LayerError, UnavailableError
from layer_kit.lost_errors import report_lost
from layer_runtime.application.claiming import ClaimItems
from layer_runtime.application.completing import CompleteItems
from layer_runtime.application.holding import HoldItems
from layer_runtime.domain.functions import FunctionId
from layer_runtime.domain.items import Claim, Failure, Reference
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.workers import Answer, Workers

log = structlog.get_logger(__name__)

DUTY: Final = "push"
DUTY_S: Final = 15.0
LEASE_S_MARGIN: Final = 60
"""Beyond the time of a call, for handing its results in."""


@dataclass(slots=True, kw_only=True)
class PushBatches:
    """Pushes what waits; to be told so again and again."""

    functions: FunctionStore
    claim_items: ClaimItems
    hold_items: HoldItems
    complete_items: CompleteItems
    workers: Workers
    replica: str
    pushed: Callable[[FunctionId, str], None]
    """Is told of every batch: ``answered`` or ``failed``."""
    _slots: dict[FunctionId, set[asyncio.Task[None]]] = field(default_factory=dict)

    @property
    def worker_id(self) -> str:
        return f"push-{self.replica}"

    async def turn(self) -> None:
        """Open one more slot for each function that has work and room for it."""
        for function in await self.functions.all():
            if not function.spec.worker.is_pushed_to or function.is_paused:
                continue
            slots = self._slots.setdefault(function.id, set())
            is_ours = await self.functions.take_duty(function.number, DUTY, self.replica, DUTY_S)
            if is_ours and len(slots) < function.spec.schedule.in_flight_batch_count_max:
                task = asyncio.create_task(self._slot(function), name=f"push {function.id}")
                slots.add(task)
                task.add_done_callback(slots.discard)
                task.add_done_callback(report_lost)

    async def aclose(self) -> None:
        """Give back what is on its way."""
        tasks = [task for slots in self._slots.values() for task in slots]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _slot(self, function: Function) -> None:
        try:
            while claims := await self._claimed(function):
                if not await self._pushed(function, claims):
                    return  # the next turn tries again
        except LayerError as error:
            log.warning("push_stopped", function=function.id, cause=error.message)

    async def _claimed(self, function: Function) -> Sequence[Claim]:
        worker, schedule = function.spec.worker, function.spec.schedule
        return await self.claim_items(
            function.id,
            self.worker_id,
            limit=worker.batch_size,
            lease_s=max(schedule.lease_s, worker.timeout_s + LEASE_S_MARGIN),
        )

    async def _pushed(self, function: Function, claims: Sequence[Claim]) -> bool:
        try:
            answer = await self.workers.run(function, claims)
        except UnavailableError as error:
            answer = Answer(results=[], failures=_all(claims, error.message))
        except asyncio.CancelledError:
            released = _all(claims, "", is_release=True)
            await self.hold_items.fail(function.id, self.worker_id, released)
            raise
        if answer.results:
            await self.complete_items(function.id, self.worker_id, answer.results)
        if answer.failures:
            await self.hold_items.fail(function.id, self.worker_id, answer.failures)
        is_answered = bool(answer.results) or len(answer.failures) < len(claims)
        self.pushed(function.id, "answered" if is_answered else "failed")
        return is_answered


def _all(claims: Sequence[Claim], message: str, *, is_release: bool = False) -> list[Failure]:
    return [
        Failure(
            Reference(claim.key, claim.lease),
            is_permanent=False,
            message=message,
            is_release=is_release,
        )
        for claim in claims
    ]
