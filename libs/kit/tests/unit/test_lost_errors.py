"""Errors that nobody waits for are counted."""

from __future__ import annotations

import asyncio
import gc

from prometheus_client import CollectorRegistry

from layer_kit.lost_errors import lost_errors_counted, report_lost


async def fail() -> None:
    raise RuntimeError("on purpose")


def count(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("layer_lost_errors_total")


async def test_the_error_of_a_task_that_nobody_awaits_is_counted() -> None:
    registry = CollectorRegistry()
    with lost_errors_counted(registry):
        task = asyncio.create_task(fail())
        await asyncio.wait([task])
        assert count(registry) == 0
        del task
        gc.collect()
        assert count(registry) == 1


async def test_an_error_is_reported_and_an_end_is_not() -> None:
    registry = CollectorRegistry()
    with lost_errors_counted(registry):
        failed, ended, left = (
            asyncio.create_task(work) for work in (fail(), asyncio.sleep(0), asyncio.sleep(9))
        )
        await asyncio.wait([failed, ended])
        left.cancel()
        await asyncio.wait([left])
        for task in (failed, ended, left):
            report_lost(task)
        assert count(registry) == 1


async def test_what_was_there_before_is_back_afterwards() -> None:
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    with lost_errors_counted(CollectorRegistry()):
        assert loop.get_exception_handler() is not before
    assert loop.get_exception_handler() is before
