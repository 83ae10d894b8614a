"""Coroutines that begin at once do as they would in a task."""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar

import pytest

from layer_kit.eager import begin

name: ContextVar[str] = ContextVar("name", default="nobody")


async def test_what_waits_for_nothing_has_ended_when_it_has_begun() -> None:
    done: list[int] = []

    async def work() -> None:
        done.append(1)

    assert begin(work(), context=Context()) is None
    assert done == [1]


async def test_what_waits_goes_on_in_a_task() -> None:
    turn: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    done: list[str] = []

    async def work() -> None:
        done.append("begun")
        done.append(await turn)
        await asyncio.sleep(0)
        done.append(await asyncio.to_thread(lambda: "from a thread"))

    task = begin(work(), context=Context())
    assert done == ["begun"]
    turn.set_result("its turn")
    assert task is not None
    await task
    assert done == ["begun", "its turn", "from a thread"]


async def test_the_rest_runs_in_the_context_that_it_is_given() -> None:
    name.set("caller")
    names: list[str] = []

    async def work() -> None:
        names.append(name.get())
        await asyncio.sleep(0)
        names.append(name.get())

    task = begin(work(), context=Context())
    assert task is not None
    await task
    assert names == ["caller", "nobody"]


async def test_errors_reach_whoever_began_it_or_its_task() -> None:
    async def work(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        begin(work(0), context=Context())
    task = begin(work(1), context=Context())
    assert task is not None
    with pytest.raises(LookupError):
        await task


async def test_an_error_it_waits_for_is_its_own_to_handle() -> None:
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done: list[str] = []

    async def work() -> None:
        try:
            await turn
        except LookupError:
            await asyncio.sleep(0)
            done.append("handled")

    task = begin(work(), context=Context())
    turn.set_exception(LookupError())
    assert task is not None
    await task
    assert done == ["handled"]


async def test_it_can_be_cancelled_and_cleans_up() -> None:
    done: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    task = begin(work(), context=Context())
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["cleaned up"]
