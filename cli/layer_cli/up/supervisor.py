"""Keeps the processes of a system alive, and lets none outlive it.

Each process has one task: wait for those it comes after, run, and after a crash run again with a
growing pause. Stopping goes the other way round: a process gets SIGTERM when those that come
after it have ended. A supervisor that is itself killed cannot do that; then the kernel ends the
processes (``layer_kit.supervision``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence

from layer_cli.up.backoff import Backoff
from layer_cli.up.child import Child, Ending
from layer_cli.up.logs import LogStream
from layer_cli.up.specs import ProcessSpec
from layer_cli.up.state import ProcessState, SystemRecord
from layer_kit.clock import Monotonic, monotonic
from layer_kit.configuration import EXIT_CODE, ConfigurationError
from layer_kit.supervision import SUPERVISOR_VARIABLE


class NotReadyError(Exception):
    """The system did not become ready in time. The message names the processes to look at."""


class Supervisor:
    """Runs the processes of a plan until it is told to stop."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        *,
        environment: Mapping[str, str],
        logs: LogStream,
        on_change: Callable[[SystemRecord], None],
        inherited_descriptors: Sequence[int] = (),
        now: Monotonic = monotonic,
    ) -> None:
        """Prepare to run ``specs``, each of which comes after those its ``after`` names.

        Args:
            specs: The plan.
            environment: Inherited by every process.
            logs: Where the processes' output and the supervisor's own lines go.
            on_change: Called whenever the record of a process has changed.
            inherited_descriptors: Stay open in every process as long as it lives.
            now: Measures health.
        """
        self._environment = {**environment, SUPERVISOR_VARIABLE: str(os.getpid())}
        self._logs = logs
        self._on_change = on_change
        self._children = {
            spec.name: Child(
                spec,
                logs=logs,
                on_change=self._changed,
                now=now,
                inherited_descriptors=inherited_descriptors,
            )
            for spec in specs
        }
        # Set for good once a process was ready for the first time, or when all is to stop.
        self._may_follow = {spec.name: asyncio.Event() for spec in specs}
        self._settled = asyncio.Event()
        self._stop = asyncio.Event()
        self._fault: ConfigurationError | NotReadyError | None = None

    @property
    def record(self) -> SystemRecord:
        children = self._children.values()
        return SystemRecord(
            supervisor_pid=os.getpid(), processes=tuple(child.record for child in children)
        )

    async def run(self, *, ready_s_max: float, on_ready: Callable[[], None]) -> None:
        """Run everything until :meth:`request_stop`, then return when the last process ended.

        Args:
            ready_s_max: Seconds until everything must be ready.
            on_ready: Called once everything is.

        Raises:
            ConfigurationError: A process refused its configuration when it first started.
            NotReadyError: ``ready_s_max`` went by.
        """
        async with asyncio.TaskGroup() as group:
            lives = {
                name: group.create_task(self._keep_alive(child))
                for name, child in self._children.items()
            }
            try:
                await asyncio.wait_for(self._settled.wait(), ready_s_max)
            except TimeoutError:
                self._give_up(NotReadyError(self._lateness(ready_s_max)))
            if not self._stop.is_set():
                on_ready()
            await self._stop.wait()
            for child in self._children.values():
                group.create_task(self._stop_after_followers(child, lives))
        if self._fault is not None:
            raise self._fault

    def request_stop(self) -> None:
        """Stop everything in order; :meth:`run` returns when that is done."""
        self._stop.set()
        self._settled.set()
        for event in self._may_follow.values():
            event.set()

    def kill(self) -> None:
        """End every process at once."""
        self.request_stop()
        for child in self._children.values():
            child.request_stop()
            child.kill()

    async def _keep_alive(self, child: Child) -> None:
        for name in child.spec.after:
            await self._may_follow[name].wait()
        backoff = Backoff()
        while not self._stop.is_set():
            ending = await self._run_once(child)
            if self._stop.is_set():
                break
            if ending.code == EXIT_CODE and not child.was_ready:
                refusal = ending.refusal or f"layer up: {child.spec.name} {ending}"
                self._give_up(ConfigurationError(refusal))
                break
            await self._pause(child, ending, backoff.pause_s(healthy_s=ending.healthy_s))
        child.enter(ProcessState.STOPPED)

    async def _run_once(self, child: Child) -> Ending:
        addresses_of = {name: other.addresses for name, other in self._children.items()}
        environment = child.spec.environment(
            self._environment, learned=child.addresses, addresses_of=addresses_of
        )
        try:
            return await child.run(environment)
        except OSError as error:
            refusal = f"layer up: cannot start {child.spec.name}: {error.strerror}"
            return Ending(code=EXIT_CODE, healthy_s=0.0, refusal=refusal)

    async def _pause(self, child: Child, ending: Ending, pause_s: float) -> None:
        child.restart_count += 1
        child.enter(ProcessState.RESTARTING)
        self._logs.say(f"{child.spec.name} {ending}; restarting in {pause_s:g} s")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), pause_s)

    async def _stop_after_followers(
        self, child: Child, lives: Mapping[str, asyncio.Task[None]]
    ) -> None:
        name = child.spec.name
        followers = [
            lives[other.spec.name] for other in self._children.values() if name in other.spec.after
        ]
        if followers:
            await asyncio.wait(followers)
        child.request_stop()
        _, late = await asyncio.wait([lives[name]], timeout=child.spec.stop_s_max)
        if late:
            self._logs.say(f"{name} did not stop within {child.spec.stop_s_max:g} s; killing it")
            child.kill()

    def _changed(self) -> None:
        children = self._children.values()
        for child in children:
            if child.was_ready:
                self._may_follow[child.spec.name].set()
        if all(child.state is ProcessState.READY for child in children):
            self._settled.set()
        self._on_change(self.record)

    def _give_up(self, fault: ConfigurationError | NotReadyError) -> None:
        self._fault = self._fault or fault
        self.request_stop()

    def _lateness(self, ready_s_max: float) -> str:
        late = ", ".join(
            f"{child.spec.name} ({child.state})"
            for child in self._children.values()
            if child.state is not ProcessState.READY
        )
        return f"layer up: not ready after {ready_s_max:g} s: {late}"
