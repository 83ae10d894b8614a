"""Calling what a user wrote without standing still, and without waiting for it for ever."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any


async def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function; one that is not asynchronous in a thread, so that leases go on."""
    if inspect.iscoroutinefunction(function):
        return await function(*args, **kwargs)
    output = await _in_thread(functools.partial(function, *args, **kwargs))
    return await output if inspect.isawaitable(output) else output


async def within_drain(work: Awaitable[None], stopping: asyncio.Event, drain_s: float) -> bool:
    """Wait for work, once told to stop only for ``drain_s``; tell whether it has ended."""
    task = asyncio.ensure_future(work)
    told = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=drain_s)
        if task.done():
            task.result()
            return True
        return False
    finally:
        told.cancel()
        task.cancel()


async def _in_thread(call: Callable[[], Any]) -> Any:
    """Call in a thread of its own, which ends with the process: one of a pool is waited for when
    the loop closes, and a call that never returns would then keep a worker from ending.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def settle(found: Any, error: BaseException | None) -> None:
        if outcome.done():  # nobody waits any more
            return
        if error is None:
            outcome.set_result(found)
        else:
            outcome.set_exception(error)

    def run() -> None:
        found: Any = None
        error: BaseException | None = None
        try:
            found = context.run(call)
        except StopIteration as stop:  # which no future can hold
            error = RuntimeError(f"it raised {stop!r}")
        except BaseException as raised:  # noqa: BLE001 -- told to whoever waits
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, found, error)

    threading.Thread(target=run, name="layer-sdk-call", daemon=True).start()
    return await outcome
