"""Who warms which namespace when: on request, in the background, once at a time."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

import structlog

from layer_gateway.application.cache_states import CacheStates
from layer_gateway.application.job_records import Job, JobStatus
from layer_gateway.application.jobs import Jobs
from layer_gateway.application.mirroring import MirroredSnapshot
from layer_gateway.application.room_for_jobs import check_room
from layer_gateway.application.warming import Progress, WarmNamespace
from layer_gateway.domain.warmth import WarmState
from layer_gateway.ports.stores import Caller
from layer_kit.clock import Monotonic
from layer_kit.errors import CacheColdError, InvalidRequestError, LayerError
from layer_kit.lost_errors import report_lost
from layer_kit.names import Namespace

log = structlog.get_logger(__name__)

PAGE_SIZE_DEFAULT: Final = 1000
PAGE_SIZE_MAX: Final = 10_000
KEEP_INTERVAL_S: Final = 2.0
RUNNING_MAX: Final = 32
"""Namespaces that one gateway brings in at once."""

REACTIVE_WAITING_MAX: Final = 1000
"""Namespaces that wait for a background warming; one more waits for its next miss."""

REACTIVE_AT_ONCE_MAX: Final = 2
REACTIVE_AGAIN_S: Final = 60.0
"""A background warming that failed is not tried again sooner."""

RENEWED_AGAIN_S: Final = 10.0
"""A namespace that fell behind is not brought in again sooner."""

NAMESPACES_REMEMBERED_MAX: Final = 10_000

Outcome = Callable[[str], None]


class WarmJobs:
    """Starts warmings as jobs, one of a namespace at a time.

    Args:
        is_reactive: Whether a first miss warms its namespace in the background.
        ended: Told how each warming ended, by one word.
    """

    def __init__(
        self,
        *,
        warm: WarmNamespace,
        jobs: Jobs[Job],
        states: CacheStates,
        is_reactive: bool,
        monotonic: Monotonic,
        ended: Outcome = lambda _: None,
    ) -> None:
        self._warm = warm
        self._jobs = jobs
        self._cache = warm.cache
        self._states = states
        self._is_reactive = is_reactive
        self._monotonic = monotonic
        self._ended = ended
        self._locks: WeakValueDictionary[Namespace, asyncio.Lock] = WeakValueDictionary()
        self._running: dict[Namespace, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(REACTIVE_AT_ONCE_MAX)
        self._noticed: OrderedDict[Namespace, tuple[int, float]] = OrderedDict()
        """The generation of the cache in which a namespace was last warmed, and until when that
        is not done again in it."""
        self._renewed: OrderedDict[Namespace, float] = OrderedDict()
        """Until when a namespace that has fallen behind is not brought in again."""

    def check_cache(self) -> None:
        """Refuse what needs the cache while it is away.

        Raises:
            CacheColdError: ``CACHE_AWAY``.
        """
        if not self._cache.is_available:
            raise CacheColdError(
                "CACHE_AWAY", "The document cache is away; try again later.", cache_state="cold"
            )

    async def start(
        self,
        namespace: Namespace,
        caller: Caller,
        *,
        page_size: int = PAGE_SIZE_DEFAULT,
        documents_only: bool = False,
    ) -> Job:
        """Warm a namespace in the background; return the job, or the one that runs already.

        Args:
            documents_only: Whether the store was hinted and the snapshot mirrored before.

        Raises:
            InvalidRequestError: ``PAGE_SIZE_RANGE``.
            CacheColdError: ``CACHE_AWAY``.
            QuotaExceededError: ``TOO_MANY_JOBS``.
            LayerError: The object store's.
        """
        check_page_size(page_size)
        self.check_cache()
        job, is_new = await self._begin(namespace)
        if is_new:
            self._go(self._run(job, caller, page_size, documents_only=documents_only))
        return job

    def missed(self, namespace: Namespace, caller: Caller) -> None:
        """Notice a miss: the first of a namespace since the cache was connected warms it.

        Returns at once: whoever fetches waits for nothing here.
        """
        connection = self._cache.connection
        if not (self._is_reactive and connection.is_connected):
            return
        generation, until_s = self._noticed.get(namespace, (0, -math.inf))
        if generation == connection.generation and self._monotonic() < until_s:
            return
        if len(self._tasks) >= REACTIVE_WAITING_MAX:
            return
        self._notice(namespace, math.inf)
        self._go(self._react(namespace, caller))

    def fell_behind(self, namespace: Namespace, caller: Caller) -> None:
        """Notice that the cache holds less of a namespace than it could, and bring that in.

        Returns at once; the same namespace is not brought in again for a while.
        """
        now_s = self._monotonic()
        if not (self._is_reactive and self._cache.connection.is_connected):
            return
        if now_s < self._renewed.get(namespace, -math.inf):
            return
        if len(self._tasks) >= REACTIVE_WAITING_MAX:
            return
        self._renewed[namespace] = now_s + RENEWED_AGAIN_S
        self._renewed.move_to_end(namespace)
        if len(self._renewed) > NAMESPACES_REMEMBERED_MAX:
            self._renewed.popitem(last=False)
        self._go(self._renew(namespace, caller))

    async def mirror(self, namespace: Namespace) -> MirroredSnapshot | None:
        """Copy the latest snapshot into the cache; None where there is none."""
        return await self._warm.mirror(namespace)

    async def hint(self, namespace: Namespace, caller: Caller) -> None:
        """Have the store warm its own cache."""
        await self._warm.hint(namespace, caller)

    async def get(self, namespace: Namespace, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: ``JOB_NOT_FOUND``.
        """
        return await self._jobs.get(namespace, job_id)

    async def list(self, namespace: Namespace) -> Sequence[Job]:
        """Return the jobs of a namespace, oldest first."""
        return await self._jobs.list(namespace)

    async def aclose(self) -> None:
        """End what runs, and record that it did not come to its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._jobs.room.aclose()

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(report_lost)

    async def _react(self, namespace: Namespace, caller: Caller) -> None:
        async with self._slots:
            try:
                states = await self._warm.warmth.states([namespace])
                if namespace in states and states[namespace].state is not WarmState.COLD:
                    return
                job, is_new = await self._begin(namespace)
            except LayerError as error:
                log.info("warming_not_begun", namespace=namespace, reason=error.reason)
                self._notice(namespace, self._monotonic() + REACTIVE_AGAIN_S)
                return
            if is_new:
                await self._run(job, caller, PAGE_SIZE_DEFAULT, documents_only=False)

    async def _renew(self, namespace: Namespace, caller: Caller) -> None:
        async with self._slots:
            try:
                job, is_new = await self._begin(namespace)
            except LayerError as error:
                log.info("warming_not_begun", namespace=namespace, reason=error.reason)
                return
            if is_new:
                await self._run(job, caller, PAGE_SIZE_DEFAULT, documents_only=False)

    async def _begin(self, namespace: Namespace) -> tuple[Job, bool]:
        """Return the job that runs, here or elsewhere, or a new one; and whether it is new."""
        lock = self._locks.get(namespace)
        if lock is None:
            lock = self._locks[namespace] = asyncio.Lock()
        async with lock:
            running = self._running.get(namespace)
            if running is None or running.status is not JobStatus.RUNNING:
                running = await self._jobs.running(namespace)
            if running is not None:
                return running, False
            check_room(self._running, RUNNING_MAX, "warmings")
            job = self._running[namespace] = await self._jobs.begin(namespace)
            return job, True

    async def _run(self, job: Job, caller: Caller, page_size: int, *, documents_only: bool) -> None:
        """Do the work of a job and record how it went; nothing that fails goes further."""
        namespace, progress = Namespace(job.namespace), Progress()
        is_over = asyncio.Event()
        keeping = asyncio.create_task(self._keep(job, progress, is_over))
        error: str | None = "the gateway was stopped"
        try:
            if not documents_only:
                await self._warm.hint(namespace, caller)
                await self._warm.mirror(namespace)
            await self._warm.rows(namespace, caller, progress, page_size=page_size)
            error = None
        except LayerError as failure:
            error = failure.message
        except Exception:
            log.exception("warming_crashed", namespace=namespace, job_id=job.id)
            error = "internal error"
            raise
        finally:
            is_over.set()
            await keeping
            if error is not None:
                self._notice(namespace, self._monotonic() + REACTIVE_AGAIN_S)
                log.warning("warming_failed", namespace=namespace, job_id=job.id, message=error)
            _fill(job, progress)
            self._ended("failed" if error else "completed")
            await self._jobs.end(job, error=error)
            if self._running.get(namespace) is job:
                del self._running[namespace]
            await self._states.refresh()

    async def _keep(self, job: Job, progress: Progress, is_over: asyncio.Event) -> None:
        """Write a job now and then; never cancelled, so that no write is outrun by a later one."""
        while not is_over.is_set():
            _fill(job, progress)
            await self._jobs.keep(job)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_over.wait(), KEEP_INTERVAL_S)

    def _notice(self, namespace: Namespace, until_s: float) -> None:
        self._noticed[namespace] = (self._cache.connection.generation, until_s)
        self._noticed.move_to_end(namespace)
        if len(self._noticed) > NAMESPACES_REMEMBERED_MAX:
            self._noticed.popitem(last=False)


def check_page_size(page_size: int) -> None:
    """Check how many rows are to be read at once.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_RANGE``.
    """
    if not 1 <= page_size <= PAGE_SIZE_MAX:
        raise InvalidRequestError(
            "PAGE_SIZE_RANGE", f"page_size must be 1 to {PAGE_SIZE_MAX}.", field="page_size"
        )


def _fill(job: Job, progress: Progress) -> None:
    job.documents_scanned = progress.documents_scanned
    job.progress = progress.share
    job.stable_as_of = progress.stable_as_of_ms
