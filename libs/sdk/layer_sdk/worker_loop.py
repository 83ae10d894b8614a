"""The loop of a function's worker: claim, process while leases are renewed, hand in."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from layer_sdk.calling import within_drain
from layer_sdk.items import Failure, Item, Result
from layer_sdk.loops import Loop
from layer_sdk.processing import Processing
from layer_sdk.retrying import with_retries
from layer_sdk.transport import FunctionTransport, Refused, Unavailable

log = logging.getLogger("layer_sdk")

LEASE_S_DEFAULT: Final = 120
HAND_IN_INTERVAL_S: Final = 2.0
"""Results of a batch that takes longer are handed in meanwhile: what is done is not lost."""


@dataclass(slots=True)
class _Batch:
    """Items of one claim: those still held, and what is known of some of them."""

    held: dict[tuple[str, str], Item]
    outcomes: dict[tuple[str, str], Result | Failure] = field(default_factory=dict)

    def settle(self, outcomes: Sequence[Result | Failure]) -> None:
        """Forget what was handed in."""
        for one in outcomes:
            self.held.pop(one.item.key, None)
            self.outcomes.pop(one.item.key, None)


@dataclass(slots=True, kw_only=True)
class WorkerLoop(Loop):
    """Works on the items of one function until it is told to stop."""

    processing: Processing
    transport: FunctionTransport
    limit: int
    lease_s: float = LEASE_S_DEFAULT

    async def run(self, *, once: bool = False) -> int:
        """Work; return how many items were completed.

        Args:
            once: End with the first claim that gives nothing.
        """
        completed_count = 0
        while not self._stopping.is_set():
            try:
                items = await self.transport.claim(self.limit, int(self.lease_s) or None)
            except Unavailable as error:
                log.warning("cannot claim: %s", error)
                if once:
                    raise
                await self._pause(max(self.poll_interval_s, error.retry_after_s or 0.0))
                continue
            if items:
                completed_count += await self._batch(items)
            elif once:
                break
            else:
                await self._pause(self.poll_interval_s)
        return completed_count

    async def _batch(self, items: Sequence[Item]) -> int:
        batch = _Batch({item.key: item for item in items})
        counts: list[int] = []
        async with self._renewing(lambda: self._renew(batch)):
            work = self._process(items, batch, counts)
            if not await within_drain(work, self._stopping, self.drain_s):
                log.warning("a call did not end within %s s; it is given back", self.drain_s)
            if not await within_drain(self._close(batch, counts), self._stopping, self.drain_s):
                log.warning("results could not be handed in within %s s", self.drain_s)
        return sum(counts)

    async def _process(self, items: Sequence[Item], batch: _Batch, counts: list[int]) -> None:
        if self.processing.is_batch:
            outcomes = await self.processing.all(items)
            batch.outcomes |= {one.item.key: one for one in outcomes}
            return
        handed_in_s = time.monotonic()
        for item in items:
            if self._stopping.is_set():
                return
            batch.outcomes[item.key] = await self.processing.one(item)
            if time.monotonic() - handed_in_s >= HAND_IN_INTERVAL_S:
                await self._hand_in(batch, counts)
                handed_in_s = time.monotonic()

    async def _close(self, batch: _Batch, counts: list[int]) -> None:
        """Hand in what is done and give back the rest."""
        await self._hand_in(batch, counts)
        left = [Failure(item, "released") for item in batch.held.values()]
        if left:
            await self._fail(left)

    async def _hand_in(self, batch: _Batch, counts: list[int]) -> None:
        outcomes = list(batch.outcomes.values())
        if results := [one for one in outcomes if isinstance(one, Result)]:
            counts.append(await self._complete(results))
        if failures := [one for one in outcomes if isinstance(one, Failure)]:
            await self._fail(failures)
        batch.settle(outcomes)

    async def _complete(self, results: Sequence[Result]) -> int:
        try:
            return await with_retries(lambda: self.transport.complete(results)) or 0
        except Refused as error:
            if len(results) == 1:
                log.warning("result refused: %s", error)
                await self._fail([Failure(results[0].item, "permanent", str(error)[:1000])])
                return 0
            middle = len(results) // 2
            first = await self._complete(results[:middle])
            return first + await self._complete(results[middle:])

    async def _fail(self, failures: Sequence[Failure]) -> None:
        await with_retries(lambda: self.transport.fail(failures))

    async def _renew(self, batch: _Batch) -> None:
        """Renew the leases of all that is not handed in yet, done or not."""
        if batch.held:
            await self.transport.heartbeat(list(batch.held.values()))
