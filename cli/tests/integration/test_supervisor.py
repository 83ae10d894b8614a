"""The supervisor in this process, on plans that `layer up` would not make."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layer_cli.up.logs import LogStream
from layer_cli.up.specs import Link, Listen, ProcessSpec
from layer_cli.up.supervisor import Supervisor
from layer_cli_testing.system import System, is_alive
from layer_kit.configuration import ConfigurationError


def spec(system: System, name: str, *, stop_s_max: float = 5.0) -> ProcessSpec:
    program = system.program("cache")
    ops = Listen(kind="ops", variable="LAYER_CACHE_OPS_ADDRESS", address="127.0.0.1:0")
    return ProcessSpec(
        name=name,
        service="cache",
        command=(sys.executable, str(program)),
        listens=(ops,),
        stop_s_max=stop_s_max,
    )


def supervisor_of(system: System, *specs: ProcessSpec) -> tuple[Supervisor, io.BytesIO]:
    out = io.BytesIO()
    logs = LogStream(out, [one.name for one in specs], is_coloured=False, is_quiet=False)
    environment = system.environment()
    return Supervisor(specs, environment=environment, logs=logs, on_change=lambda _: None), out


async def run(supervisor: Supervisor, on_ready: Callable[[], None]) -> None:
    await supervisor.run(ready_s_max=10, on_ready=on_ready)


async def test_a_process_deaf_to_sigterm_is_killed_when_its_time_is_over(system: System) -> None:
    system.behave("cache", deaf=True)
    supervisor, out = supervisor_of(system, spec(system, "deaf", stop_s_max=0.3))

    await run(supervisor, supervisor.request_stop)

    assert b"deaf did not stop within 0.3 s; killing it" in out.getvalue()
    assert [event for _, event, _ in system.events] == ["started", "ready", "stopping"]
    assert not is_alive(system.events[0][2])


async def test_a_program_that_cannot_be_started_is_a_fault_of_the_configuration(
    system: System, tmp_path: Path
) -> None:
    missing = ProcessSpec(
        name="ghost", service="ghost", command=(str(tmp_path / "ghost"),), listens=()
    )
    supervisor, _ = supervisor_of(system, spec(system, "cache"), missing)

    with pytest.raises(ConfigurationError, match="cannot start ghost: No such file or directory"):
        await run(supervisor, lambda: None)

    assert not [pid for _, _, pid in system.events if is_alive(pid)]


async def test_a_fault_of_our_own_leaves_no_process_behind(system: System) -> None:
    supervisor, _ = supervisor_of(system, spec(system, "cache"))

    def fail() -> None:
        raise RuntimeError("the welcome cannot be shown")

    with pytest.raises(ExceptionGroup):
        await run(supervisor, fail)

    assert not [pid for _, _, pid in system.events if is_alive(pid)]


async def test_a_process_is_told_where_those_before_it_listen(system: System) -> None:
    first = spec(system, "first")
    link = Link(variable="LAYER_TEST_LINK", process="first", kind="ops", scheme="http://")
    second = ProcessSpec(
        name="second",
        service="cache",
        command=first.command,
        listens=first.listens,
        links=(link,),
        after=("first",),
    )
    supervisor, _ = supervisor_of(system, first, second)
    records = []

    def stop() -> None:
        records.append(supervisor.record)
        supervisor.request_stop()

    await run(supervisor, stop)

    told = system.environment_of("cache")["LAYER_TEST_LINK"]
    assert told == f"http://{records[0].processes[0].addresses['ops']}"
    assert records[0].supervisor_pid == os.getpid()


async def test_stopping_before_anything_is_ready_returns(system: System) -> None:
    supervisor, _ = supervisor_of(system, spec(system, "cache"))

    supervisor.request_stop()
    async with asyncio.timeout(5):
        await run(supervisor, lambda: None)

    assert not system.events
