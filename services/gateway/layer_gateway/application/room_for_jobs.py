"""Room for new jobs: so many may run, and the oldest that have ended go, behind the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sized
from typing import Final

import structlog

from layer_kit.bounded_cache import BoundedCache
from layer_kit.errors import LayerError, QuotaExceededError
from layer_kit.lost_errors import report_lost
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)

JOBS_KEPT_MIN: Final = 100
"""Of one kind and namespace: so many of the latest stay for as long as jobs are kept."""

JOBS_OVER_MAX: Final = 10
"""More than these are looked for only when so many may have come, as looking is a listing."""

NAMESPACES_REMEMBERED_MAX: Final = 10_000

RETRY_AFTER_S: Final = 5.0

KeepLatest = Callable[[Namespace, int], Awaitable[int]]
"""Forgets the oldest jobs of a namespace beyond a number, and returns how many are left."""


def check_room(running: Sized, running_max: int, what: str) -> None:
    """Refuse one more where a gateway has as many to carry out as it may.

    Raises:
        QuotaExceededError: ``TOO_MANY_JOBS``.
    """
    if len(running) >= running_max:
        raise QuotaExceededError(
            "TOO_MANY_JOBS",
            f"This gateway has {len(running)} {what} to carry out; try again later.",
            retry_after_s=RETRY_AFTER_S,
        )


class RoomForJobs:
    """Decides when to look for jobs that are too many."""

    def __init__(self, keep_latest: KeepLatest) -> None:
        self._keep_latest = keep_latest
        self._room: BoundedCache[Namespace, int] = BoundedCache(NAMESPACES_REMEMBERED_MAX)
        """Jobs that may still come before a namespace is looked at; without an entry none."""
        self._looking: dict[Namespace, asyncio.Task[None]] = {}
        self._came_meanwhile: dict[Namespace, int] = {}
        """Jobs that have come while a namespace is looked at, and that may not have been seen."""

    def taken(self, namespace: Namespace) -> None:
        """Note that a job was added, and look in the background when it is time to."""
        room = (self._room.get(namespace) or 0) - 1
        self._room.put(namespace, max(room, 0), weight=1)
        if namespace in self._looking:
            self._came_meanwhile[namespace] += 1
        elif room < 0:
            self._came_meanwhile[namespace] = 0
            task = asyncio.create_task(self._look(namespace))
            self._looking[namespace] = task
            task.add_done_callback(lambda _: self._looked(namespace))
            task.add_done_callback(report_lost)

    async def settle(self) -> None:
        """Wait for what is being looked at."""
        await asyncio.gather(*self._looking.values(), return_exceptions=True)

    async def aclose(self) -> None:
        """Leave what is being looked at to the next time."""
        for task in self._looking.values():
            task.cancel()
        await self.settle()

    async def _look(self, namespace: Namespace) -> None:
        try:
            left = await self._keep_latest(namespace, JOBS_KEPT_MIN)
        except LayerError as error:
            log.info("jobs_not_pruned", namespace=namespace, reason=error.reason)
            return
        room = JOBS_KEPT_MIN + JOBS_OVER_MAX - left - self._came_meanwhile[namespace]
        self._room.put(namespace, max(room, 0), weight=1)

    def _looked(self, namespace: Namespace) -> None:
        del self._looking[namespace], self._came_meanwhile[namespace]
