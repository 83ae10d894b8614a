"""Automatic snapshots: taken when a watermark has advanced, as often as a policy lets.

Watermarks come from every gateway and wait here, one of each namespace. A namespace is looked at
when its interval has passed, by one replica at a time. What fails is tried again when the interval
has passed once more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import LayerError
from layer_kit.lost_errors import report_lost
from layer_kit.names import Namespace
from layer_snapshots.application.bodies import Bodies
from layer_snapshots.application.latest import Latest
from layer_snapshots.application.policies import Policies
from layer_snapshots.application.retention import Retention
from layer_snapshots.application.states import Held, States
from layer_snapshots.domain.content import Content, Counting, Snapshot, body_of
from layer_snapshots.domain.keys import SnapshotName, name_of
from layer_snapshots.domain.limits import ROWS_PER_PAGE_MAX, WATERMARKS_MAX
from layer_snapshots.domain.policy import Policy
from layer_snapshots.ports import Rows, Wanted

log = structlog.get_logger(__name__)

AT_ONCE_MAX: Final = 4
AGAIN_MS: Final = 5_000
"""After the object store has failed, or another process was faster."""


class LeaseLostError(Exception):
    """Another process is at the namespace now, or it was purged."""


@dataclass(slots=True, kw_only=True)
class _Waiting:
    watermark_ms: int
    authorization: str = field(repr=False)
    due_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """Is told what becomes of snapshots."""

    ended: Callable[[str, float], None]
    """How an attempt ended, by one word, and how many seconds it took."""
    skipped: Callable[[str, str, str], None]
    """Namespace, field and reason of a field without a histogram."""


@dataclass(slots=True, kw_only=True)
class Taking:
    """Takes snapshots."""

    rows: Rows
    policies: Policies
    states: States
    bodies: Bodies
    latest: Latest
    retention: Retention
    now_ms: EpochMilliseconds
    observer: Observer
    _waiting: OrderedDict[Namespace, _Waiting] = field(default_factory=OrderedDict)
    _running: dict[Namespace, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def advanced(self, namespace: Namespace, watermark_ms: int, authorization: str) -> None:
        """Take note of a watermark; one that is behind another is ignored."""
        waiting = self._waiting.get(namespace)
        if waiting is not None:
            if watermark_ms > waiting.watermark_ms:
                waiting.watermark_ms = watermark_ms
                waiting.authorization = authorization or waiting.authorization
            return
        if len(self._waiting) >= WATERMARKS_MAX:
            self._waiting.popitem(last=False)
        self._waiting[namespace] = _Waiting(watermark_ms=watermark_ms, authorization=authorization)

    def soon(self, namespace: Namespace) -> None:
        """Look at a namespace again: its policy was changed."""
        if (waiting := self._waiting.get(namespace)) is not None:
            waiting.due_ms = 0

    async def turn(self) -> None:
        """Begin with what is due, as far as there is room."""
        now_ms = self.now_ms()
        for namespace, waiting in list(self._waiting.items()):
            if len(self._running) >= AT_ONCE_MAX:
                return
            policy = self.policies.get(namespace)
            if policy is None or not policy.facetFields or waiting.due_ms > now_ms:
                continue
            if namespace not in self._running:
                task = asyncio.create_task(self._attend(namespace, waiting, policy))
                self._running[namespace] = task
                task.add_done_callback(partial(self._ran, namespace))

    async def stop(self, namespace: Namespace) -> None:
        """Give up a namespace that is being purged."""
        self._waiting.pop(namespace, None)
        if (task := self._running.get(namespace)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def aclose(self) -> None:
        """Give up what is being taken, and let go of the leases."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _ran(self, namespace: Namespace, task: asyncio.Task[None]) -> None:
        del self._running[namespace]
        report_lost(task)

    async def _attend(self, namespace: Namespace, waiting: _Waiting, policy: Policy) -> None:
        """Take a snapshot if one is due; nothing that fails goes further."""
        waiting.due_ms = self.now_ms() + AGAIN_MS
        try:
            held = await self.states.read(namespace)
            if held.state.counted_through_ms >= waiting.watermark_ms:
                self._done(namespace, waiting, waiting.watermark_ms)
                return
            if not self.states.is_free(held.state):
                waiting.due_ms = held.state.lease_until_ms
                return
            due_ms = held.state.attempted_ms + policy.interval_ms
            if due_ms > self.now_ms():
                waiting.due_ms = due_ms
                return
            begun = await self.states.acquire(namespace, held)
        except LayerError as error:
            log.warning("snapshot_not_begun", namespace=namespace, reason=error.reason)
            return
        if begun is not None:
            waiting.due_ms = begun.state.attempted_ms + policy.interval_ms
            await self._take(namespace, waiting, policy, begun)

    async def _take(
        self, namespace: Namespace, waiting: _Waiting, policy: Policy, held: Held
    ) -> None:
        watermark_ms, started_ms, outcome = waiting.watermark_ms, self.now_ms(), "failed"
        lease = _Lease(self.states, namespace, held)
        try:
            async with lease.kept():
                content = await self._count(namespace, policy, watermark_ms, waiting.authorization)
            await lease.renew()
            outcome = await self._finish(namespace, lease, watermark_ms, content)
            self._done(namespace, waiting, watermark_ms)
            with contextlib.suppress(LayerError):  # what is left goes with the next round
                await self.retention.prune(namespace)
        except LeaseLostError:
            outcome = "lost"
            waiting.due_ms = self.now_ms() + AGAIN_MS
        except LayerError as error:
            log.warning(
                "snapshot_failed", namespace=namespace, reason=error.reason, message=error.message
            )
        except Exception:
            log.exception("snapshot_crashed", namespace=namespace)
        except asyncio.CancelledError:
            outcome = "stopped"
            raise
        finally:
            await lease.let_go()
            self.observer.ended(outcome, (self.now_ms() - started_ms) / 1000)

    async def _count(
        self, namespace: Namespace, policy: Policy, watermark_ms: int, authorization: str
    ) -> Content:
        counting = Counting(policy.facetFields)
        wanted = Wanted(
            namespace=namespace,
            fields=counting.fields,
            as_of_ms=max(watermark_ms, self.now_ms()),
            page_size=ROWS_PER_PAGE_MAX,
            authorization=authorization,
        )
        async for page in self.rows.values(wanted):
            counting.add(page.row_count, page.columns)
        return counting.content()

    async def _finish(
        self, namespace: Namespace, lease: _Lease, watermark_ms: int, content: Content
    ) -> str:
        for skipped in content.fields_skipped:
            self.observer.skipped(namespace, skipped.name, skipped.reason)
        snapshot = await self._as_before(namespace, lease.held.state.latest, content)
        outcome, is_new = "unchanged", False
        if snapshot is None:
            body = body_of(namespace, watermark_ms, content)
            snapshot, is_new = await self.bodies.put(body)
            await self.bodies.unmark(namespace, name_of(watermark_ms, body.sha))
            outcome = "written"
        name = name_of(snapshot.body.watermark_ms, snapshot.body.sha)
        if not await lease.succeed(watermark_ms, name):
            if is_new:  # it was purged in this very moment, or another process has gone on
                await self.bodies.delete(namespace, name)
            raise LeaseLostError
        await self.latest.taken(namespace, snapshot)
        log.info("snapshot_taken", namespace=namespace, file=name.file, outcome=outcome)
        return outcome

    async def _as_before(
        self, namespace: Namespace, latest: SnapshotName | None, content: Content
    ) -> Snapshot | None:
        """Return the latest snapshot if it says just this."""
        if latest is None:
            found = await self.latest.find(namespace)
        elif latest.short_sha == name_of(0, content.sha).short_sha:
            found = await self.bodies.get(namespace, latest)
        else:
            return None
        return found if found is not None and found.body.sha == content.sha else None

    def _done(self, namespace: Namespace, waiting: _Waiting, watermark_ms: int) -> None:
        if self._waiting.get(namespace) is waiting and waiting.watermark_ms <= watermark_ms:
            del self._waiting[namespace]


class _Lease:
    """The lease of one attempt."""

    def __init__(self, states: States, namespace: Namespace, held: Held) -> None:
        self.held = held
        self._states = states
        self._namespace = namespace
        self._is_over = False

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renew the lease while the block runs; end the block when it is lost.

        Raises:
            LeaseLostError: When it was.
        """
        work = asyncio.current_task()
        assert work is not None
        is_lost = False

        async def keep() -> None:
            nonlocal is_lost
            while True:
                await asyncio.sleep(self._states.lease_ms / 3000)
                try:
                    await self.renew()
                except LeaseLostError:
                    is_lost = True
                    work.cancel()
                    return
                except LayerError as error:  # the next time may do; until then the lease runs on
                    log.warning("lease_not_renewed", reason=error.reason)

        keeper = asyncio.create_task(keep())
        try:
            yield
        except asyncio.CancelledError:
            if is_lost:
                work.uncancel()
                raise LeaseLostError from None
            raise
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def renew(self) -> None:
        renewed = await self._states.renew(self._namespace, self.held)
        if renewed is None:
            self._is_over = True
            raise LeaseLostError
        self.held = renewed

    async def succeed(self, watermark_ms: int, latest: SnapshotName) -> bool:
        """End the lease with a snapshot; tell whether it was still held."""
        self._is_over = True
        held = await self._states.succeed(self._namespace, self.held, watermark_ms, latest)
        return held is not None

    async def let_go(self) -> None:
        """End the lease without one, unless it has ended."""
        if not self._is_over:
            with contextlib.suppress(LayerError):  # it runs out by itself
                await self._states.fail(self._namespace, self.held)
