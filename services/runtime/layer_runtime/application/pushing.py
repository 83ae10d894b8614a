"""Batches pushed to the workers of functions that say where these are.

One replica at a time pushes for a function. It keeps at most as many batches on their way as the
function allows; each slot claims, pushes and hands in until there is nothing left, or the replica
has lost the duty. A function with a schedule has workers while its window is open, and is pushed to
no longer than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
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
    _duties: set[FunctionId] = field(default_factory=set)
    """Functions for which it is this replica that pushes."""

    @property
    def worker_id(self) -> str:
        return f"push-{self.replica}"

    async def turn(self) -> None:
        """Open one more slot for each function that has work and room for it."""
        try:
            functions = await self.functions.all()
            self._forget_all_but({function.id for function in functions})
            for function in functions:
                await self._turn_of(function)
        except LayerError:
            self._duties.clear()  # others may push as soon as the database is back
            raise

    async def aclose(self) -> None:
        """Give back what is on its way."""
        tasks = [task for slots in self._slots.values() for task in slots]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _turn_of(self, function: Function) -> None:
        if _is_pushed_to(function) and await self.functions.take_duty(
            function.number, DUTY, self.replica, DUTY_S
        ):
            self._duties.add(function.id)
            self._open_slot(function)
        else:
            self._duties.discard(function.id)

    def _forget_all_but(self, known: AbstractSet[FunctionId]) -> None:
        self._duties &= known
        self._slots = {
            function_id: slots
            for function_id, slots in self._slots.items()
            if slots or function_id in known
        }

    def _open_slot(self, function: Function) -> None:
        slots = self._slots.setdefault(function.id, set())
        if len(slots) < function.spec.schedule.in_flight_batch_count_max:
            task = asyncio.create_task(self._slot(function), name=f"push {function.id}")
            slots.add(task)
            task.add_done_callback(slots.discard)
            task.add_done_callback(report_lost)

    async def _slot(self, function: Function) -> None:
        try:
            while function.id in self._duties:
                claims = await self._claimed(function)
                if not claims or not await self._pushed(function, claims):
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


def _is_pushed_to(function: Function) -> bool:
    has_workers = function.is_window_open or not function.spec.schedule.cron
    return function.spec.worker.is_pushed_to and not function.is_paused and has_workers


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
