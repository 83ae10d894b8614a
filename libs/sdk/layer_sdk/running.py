"""The loop of a worker: claim, process while leases are renewed, hand in; drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from layer_sdk.connection import connection
from layer_sdk.decorators import STAGE_MARK
from layer_sdk.falling_back import open_functions
from layer_sdk.items import Failure, Item, Result
from layer_sdk.processing import Processing
from layer_sdk.stages import STAGE_BATCH_SIZE_DEFAULT, STAGE_LEASE_S_DEFAULT, run_stage
from layer_sdk.transport import FunctionTransport, Refused, Unavailable

log = logging.getLogger("layer_sdk")

T = TypeVar("T")

LEASE_S_DEFAULT: Final = 120
POLL_INTERVAL_S: Final = 2.0
DRAIN_S_MAX: Final = 20.0
RETRY_S_MAX: Final = 30.0
ATTEMPTS_MAX: Final = 6


@dataclass(slots=True, kw_only=True)
class WorkerLoop:
    """Works on the items of one function until it is told to stop."""

    processing: Processing
    transport: FunctionTransport
    limit: int
    lease_s: int = LEASE_S_DEFAULT
    poll_interval_s: float = POLL_INTERVAL_S
    drain_s: float = DRAIN_S_MAX
    """How long a running call may go on after :meth:`stop`; then its items are given back."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Claim no more, finish what runs and give back what does not."""
        self._stopping.set()

    async def run(self, *, once: bool = False) -> int:
        """Work; return how many items were completed.

        Args:
            once: End with the first claim that gives nothing.
        """
        completed_count = 0
        while not self._stopping.is_set():
            try:
                items = await self.transport.claim(self.limit, self.lease_s)
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
        found: dict[tuple[str, str], Result | Failure] = {}
        heart = asyncio.create_task(self._beat(items, found))
        try:
            await self._process(items, found)
        finally:
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await heart
        left = [Failure(item, "released") for item in items if item.key not in found]
        results = [one for one in found.values() if isinstance(one, Result)]
        failures = [one for one in found.values() if isinstance(one, Failure)]
        accepted_count = await self._hand_in(results)
        if failures or left:
            await with_retries(lambda: self.transport.fail([*failures, *left]))
        return accepted_count

    async def _hand_in(self, results: Sequence[Result]) -> int:
        if not results:
            return 0
        try:
            return await with_retries(lambda: self.transport.complete(results)) or 0
        except Refused as error:
            if len(results) == 1:
                log.warning("result refused: %s", error)
                failure = Failure(results[0].item, "permanent", str(error)[:1000])
                await with_retries(lambda: self.transport.fail([failure]))
                return 0
            middle = len(results) // 2
            first = await self._hand_in(results[:middle])
            return first + await self._hand_in(results[middle:])

    async def _process(
        self, items: Sequence[Item], found: dict[tuple[str, str], Result | Failure]
    ) -> None:
        if self.processing.is_batch:
            await self._within_drain(self._all(items, found))
            return
        for item in items:
            if self._stopping.is_set():
                return
            await self._within_drain(self._one(item, found))

    async def _one(self, item: Item, found: dict[tuple[str, str], Result | Failure]) -> None:
        found[item.key] = await self.processing.one(item)

    async def _all(
        self, items: Sequence[Item], found: dict[tuple[str, str], Result | Failure]
    ) -> None:
        outcomes = await self.processing.all(items)
        found.update({item.key: one for item, one in zip(items, outcomes, strict=True)})

    async def _within_drain(self, work: Awaitable[None]) -> None:
        """Wait for a call; after :meth:`stop` only so long."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait({task}, timeout=self.drain_s)
            if not task.done():
                log.warning(
                    "a call did not end within %s s; its items are given back", self.drain_s
                )
                task.cancel()
                return
            task.result()
        finally:
            stopping.cancel()

    async def _beat(
        self, items: Sequence[Item], found: dict[tuple[str, str], Result | Failure]
    ) -> None:
        """Renew the leases of what is not processed yet."""
        while True:
            await asyncio.sleep(self.lease_s / 3)
            held = [item for item in items if item.key not in found] or items
            try:
                await self.transport.heartbeat(held)
            except (Unavailable, Refused) as error:
                log.warning("cannot renew leases: %s", error)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


async def with_retries(call: Callable[[], Awaitable[T]]) -> T | None:
    """Call until it succeeds, some times; None when it never did: the leases will run out."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            return await call()
        except Unavailable as error:
            log.warning("trying again: %s", error)
            pause_s = max(0.5 * 2**attempt, error.retry_after_s or 0.0)
            await asyncio.sleep(min(pause_s, RETRY_S_MAX) * random.uniform(1.0, 1.3))  # noqa: S311
    log.error("given up; the items are handed out again when their leases end")
    return None


async def run_worker(
    function: Callable[..., Any],
    *,
    function_id: str | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    runtime_address: str | None = None,
    worker_id: str | None = None,
    limit: int | None = None,
    lease_s: int | None = None,
    poll_interval_s: float = POLL_INTERVAL_S,
    drain_s: float = DRAIN_S_MAX,
    once: bool = False,
    handles_signals: bool = True,
) -> int:
    """Run a marked function or stage as a worker, until SIGTERM or SIGINT.

    What is not given comes from its mark, then from the environment: ``HEVLAYER_UDF_ID``,
    ``HEVLAYER_UDF_BATCH_SIZE``, ``HEVLAYER_UDF_LEASE_SECONDS``, and those of ``connection``.

    Returns:
        How many items, or documents, were completed.

    Raises:
        ValueError: Nothing says which function it is.
        Refused: The function does not exist, or the key may not.
    """
    to = connection(
        base_url=base_url, api_key=api_key, runtime_address=runtime_address, worker_id=worker_id
    )
    stage = getattr(function, STAGE_MARK, None)
    if stage is not None:
        return await run_stage(
            function,
            stage,
            to,
            limit=limit or stage.batch_size or STAGE_BATCH_SIZE_DEFAULT,
            lease_s=lease_s or STAGE_LEASE_S_DEFAULT,
            poll_interval_s=poll_interval_s,
            once=once,
            stopping=_on_signals() if handles_signals else asyncio.Event(),
        )
    processing = Processing.of(function)
    name = function_id or processing.id or os.environ.get("HEVLAYER_UDF_ID")
    if not name:
        raise ValueError("which function? give id= to @udf, function_id=, or HEVLAYER_UDF_ID")
    loop = WorkerLoop(
        processing=processing,
        transport=open_functions(to, name),
        limit=limit or _number("HEVLAYER_UDF_BATCH_SIZE") or processing.batch_size,
        lease_s=lease_s or _number("HEVLAYER_UDF_LEASE_SECONDS") or LEASE_S_DEFAULT,
        poll_interval_s=poll_interval_s,
        drain_s=drain_s,
    )
    if handles_signals:
        _call_on_signals(loop.stop)
    try:
        return await loop.run(once=once)
    finally:
        await loop.transport.aclose()


def start_worker(function: Callable[..., Any], **options: Any) -> int:
    """Run :func:`run_worker` in an event loop of its own."""
    return asyncio.run(run_worker(function, **options))


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    _call_on_signals(stopping.set)
    return stopping


def _call_on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    return int(text) if text else None
