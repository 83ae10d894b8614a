"""Blocking operations on a bounded number of threads, each timed and with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Histogram

from layer_kit.errors import DeadlineError, LayerError, UnavailableError
from layer_kit.telemetry.metrics import SECONDS_BUCKETS

WAITING_PER_THREAD_MAX: Final = 64
"""Operations that may wait for each thread before further ones are refused."""

P = ParamSpec("P")
T = TypeVar("T")


class OperationThreads:
    """Runs the operations of one store.

    An operation that outlives its deadline keeps its thread, and its place among those that are
    counted, until it ends: only so does a hanging store not pile up work without bound.
    """

    def __init__(
        self, threads_max: int, timeout_s: float, registry: CollectorRegistry | None
    ) -> None:
        self._executor = ThreadPoolExecutor(threads_max, thread_name_prefix="objects")
        self._running_max = threads_max * (1 + WAITING_PER_THREAD_MAX)
        self._running_count = 0
        self._timeout_s = timeout_s
        self._durations = registry and Histogram(
            "layer_s3_op_duration_seconds",
            "Operations of the object store, waiting for a thread included.",
            ["operation", "status"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )

    async def run(
        self, operation: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what ``call`` returns, or raise what it raises.

        Raises:
            DeadlineError: ``OBJECT_STORE_TIMEOUT``; the operation may still take effect.
            UnavailableError: ``OBJECT_STORE_BUSY``.
        """
        started_s = time.perf_counter()
        status = "error"
        try:
            result = await self._run(operation, lambda: call(*args, **kwargs))
            status = "ok"
        except LayerError as error:
            status = "error" if error.retryable else "refused"
            raise
        finally:
            if self._durations:
                self._durations.labels(operation, status).observe(time.perf_counter() - started_s)
        return result

    def close(self) -> None:
        """Take no more operations; those already asked for still run."""
        self._executor.shutdown(wait=False)

    async def _run(self, operation: str, call: Callable[[], T]) -> T:
        if self._running_count >= self._running_max:
            raise UnavailableError(
                "OBJECT_STORE_BUSY",
                f"{self._running_count} operations wait for the object store; try again later.",
                retry_after_s=1,
                running_count=self._running_count,
            )
        future = asyncio.get_running_loop().run_in_executor(self._executor, call)
        self._running_count += 1
        future.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError as error:
            raise DeadlineError(
                "OBJECT_STORE_TIMEOUT",
                f"The object store did not finish a {operation} within {self._timeout_s} s.",
                operation=operation,
                timeout_s=self._timeout_s,
            ) from error

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._running_count -= 1
        if not future.cancelled():
            # Whoever asked may be gone; an error that nobody reads is not worth a warning.
            future.exception()
