"""One process of the system: started, followed to readiness, read to its last line, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from layer_cli.up.lines import iter_lines
from layer_cli.up.logs import LogStream
from layer_cli.up.probe import is_ready
from layer_cli.up.specs import ProcessSpec
from layer_cli.up.state import ProcessRecord, ProcessState
from layer_kit.clock import Monotonic
from layer_kit.supervision import parse_listening_line

PROBE_INTERVAL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one run of a process ended."""

    code: int
    """The exit code, or the negative number of the signal that ended it."""
    healthy_s: float
    """Seconds since it became ready; 0 when it never did."""
    refusal: str | None
    """The one line by which the kit tells a fault of the configuration."""

    def __str__(self) -> str:
        if self.code < 0:
            return f"was ended by signal {-self.code} ({signal.strsignal(-self.code)})"
        cause = f" ({self.refusal})" if self.refusal else ""
        return f"exited with code {self.code}{cause}"


class Child:
    """A process that may be run again and again; at most one run at a time."""

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        logs: LogStream,
        on_change: Callable[[], None],
        now: Monotonic,
        inherited_descriptors: Sequence[int] = (),
    ) -> None:
        """Describe the process; nothing runs yet.

        Args:
            spec: What to run.
            logs: Gets its stderr, and its stdout but for the ``listening`` line.
            on_change: Called after each change of state.
            now: Measures how long it was healthy.
            inherited_descriptors: Stay open in the process as long as it lives.
        """
        self.spec = spec
        self.state = ProcessState.WAITING
        self.addresses: Mapping[str, str] = {}
        self.restart_count = 0
        self.was_ready = False
        self._logs = logs
        self._on_change = on_change
        self._now = now
        self._inherited_descriptors = inherited_descriptors
        self._process: asyncio.subprocess.Process | None = None
        self._stop_requested = False
        self._ready_at_s: float | None = None
        self._refusal: str | None = None

    @property
    def record(self) -> ProcessRecord:
        return ProcessRecord(
            name=self.spec.name,
            service=self.spec.service,
            state=self.state,
            pid=self._process.pid if self._process else None,
            addresses=self.addresses,
            restart_count=self.restart_count,
        )

    def enter(self, state: ProcessState) -> None:
        self.state = state
        self._on_change()

    async def run(self, environment: Mapping[str, str]) -> Ending:
        """Start the process and follow it to its end, however that comes.

        Raises:
            OSError: When it cannot be started.
        """
        self._ready_at_s = self._refusal = None
        # A session of its own: Ctrl-C on the terminal reaches the supervisor alone, which then
        # stops its processes in order.
        process = await asyncio.create_subprocess_exec(
            *self.spec.command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=self._inherited_descriptors,
        )
        self._process = process
        try:
            if self._stop_requested:
                process.terminate()
            self.enter(ProcessState.STARTING)
            code = await self._follow(process)
        finally:
            if process.returncode is None:
                self.kill()
                await process.wait()
            self._process = None
        healthy_s = 0.0 if self._ready_at_s is None else self._now() - self._ready_at_s
        return Ending(code=code, healthy_s=healthy_s, refusal=self._refusal)

    def request_stop(self) -> None:
        """Send SIGTERM, now or as soon as there is a process."""
        self._stop_requested = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """End the process, and those it has started, at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _follow(self, process: asyncio.subprocess.Process) -> int:
        assert process.stdout is not None
        assert process.stderr is not None
        listening: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_stdout(process.stdout, listening))
            group.create_task(self._read_stderr(process.stderr))
            readiness = group.create_task(self._become_ready(listening))
            code = await process.wait()
            readiness.cancel()
        return code

    async def _read_stdout(
        self, stream: asyncio.StreamReader, listening: asyncio.Future[Mapping[str, str]]
    ) -> None:
        async for line in iter_lines(stream):
            addresses = parse_listening_line(line.decode(errors="replace"))
            if addresses is None or listening.done():
                self._logs.write(self.spec.name, line)
            else:
                listening.set_result(addresses)

    async def _read_stderr(self, stream: asyncio.StreamReader) -> None:
        mark = f"layer {self.spec.service}: ".encode()
        async for line in iter_lines(stream):
            if line.startswith(mark):
                self._refusal = line.decode(errors="replace")
            else:
                self._logs.write(self.spec.name, line)

    async def _become_ready(self, listening: asyncio.Future[Mapping[str, str]]) -> None:
        self.addresses = await listening
        while not await is_ready(self.addresses["ops"]):  # noqa: ASYNC110 -- no event tells it
            await asyncio.sleep(PROBE_INTERVAL_S)
        self._ready_at_s = self._now()
        self.was_ready = True
        self.enter(ProcessState.READY)
