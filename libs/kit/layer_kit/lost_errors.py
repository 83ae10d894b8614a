"""Errors of tasks and callbacks that nobody waits for: logged and counted, never silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter

log = structlog.get_logger(__name__)


@contextmanager
def lost_errors_counted(registry: CollectorRegistry) -> Iterator[None]:
    """Count what the running loop hears of in ``layer_lost_errors_total``, within the block."""
    lost = Counter(
        "layer_lost_errors_total",
        "Errors of tasks and callbacks that nobody waited for.",
        registry=registry,
    )
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def count(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        lost.inc()
        log.error("error_lost", cause=context.get("message"), exc_info=context.get("exception"))

    loop.set_exception_handler(count)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


def report_error(message: str, error: Exception) -> None:
    """Hand an error that nobody is to be told of to whoever counts lost errors."""
    told = {"message": message, "exception": error}
    asyncio.get_running_loop().call_exception_handler(told)


def report_lost(task: asyncio.Task[Any]) -> None:
    """Hand the error of a task that has ended, if it has one, to whoever counts lost errors."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": f"{task.get_name()} failed", "exception": error, "task": task}
        )
