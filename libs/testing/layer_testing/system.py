"""The whole system as a user starts it: `layer up` as a real process, on ports of its choosing."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from layer_testing.processes import child_environment

START_S_MAX: Final = 90.0
STOP_S_MAX: Final = 40.0
POLL_INTERVAL_S: Final = 0.02

T = TypeVar("T")


class LocalSystem:
    """A running `layer up`. Made by :func:`local_system`."""

    def __init__(self, home: Path, supervisor: subprocess.Popen[bytes], log: Path) -> None:
        self.home = home
        self.supervisor = supervisor
        self._log = log

    @property
    def url(self) -> str:
        """Base URL of the edge."""
        return f"http://{self.address('gateway', 'http')}"

    @property
    def urls(self) -> list[str]:
        """Base URLs of the edges of all gateways."""
        gateways = [one for one in self._state()["processes"] if one["service"] == "gateway"]
        return [f"http://{one['addresses']['http']}" for one in gateways]

    @property
    def store_url(self) -> str:
        """Base URL of the embedded store, past the gateway."""
        return f"http://{self.address('vectorstore', 'http')}"

    @property
    def log(self) -> str:
        """Everything the system has printed."""
        return self._log.read_text(errors="replace")

    def address(self, process: str, kind: str) -> str:
        """Return what a process listens on."""
        return str(self._record(process)["addresses"][kind])

    def pid(self, process: str) -> int:
        return int(self._record(process)["pid"])

    @property
    def pids(self) -> list[int]:
        """Every process of the system, the supervisor first."""
        children = [process["pid"] for process in self._state()["processes"] if process["pid"]]
        return [self.supervisor.pid, *children]

    def kill(self, process: str) -> None:
        """End one process as a crash does; the supervisor will start it again."""
        os.kill(self.pid(process), signal.SIGKILL)

    def kill_everything(self) -> None:
        """End all processes at once, as a power cut does."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.supervisor.wait()

    def wait_restarted(self, process: str, *, restart_count: int) -> None:
        """Wait until a process is ready again after that many restarts."""

        def is_back() -> bool:
            record = self._record(process)
            is_late = int(record["restart_count"]) >= restart_count
            return is_late and str(record["state"]) == "ready"

        until(is_back, what=f"{process} to be back")

    def wait_ready(self) -> None:
        """Wait until every process is ready.

        Raises:
            RuntimeError: When `layer up` ends instead.
        """

        def is_ready() -> bool:
            if self.supervisor.poll() is not None:
                raise RuntimeError(f"layer up ended with {self.supervisor.returncode}:\n{self.log}")
            processes = self._state().get("processes", ())
            return bool(processes) and all(one["state"] == "ready" for one in processes)

        until(is_ready, what="the system to be ready")

    def stop(self) -> int:
        """Stop the system as Ctrl-C does; return the exit code."""
        self.supervisor.send_signal(signal.SIGINT)
        return self.supervisor.wait(timeout=STOP_S_MAX)

    def _record(self, process: str) -> Mapping[str, Any]:
        for record in self._state()["processes"]:
            if record["name"] == process:
                found: Mapping[str, Any] = record
                return found
        raise KeyError(process)

    def _state(self) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = json.loads((self.home / "run" / "state.json").read_text())
        except FileNotFoundError:
            return {}
        # A system that was killed has left its state behind.
        return found if found["supervisor_pid"] == self.supervisor.pid else {}


@contextmanager
def local_system(home: Path, *arguments: str, **environment: str) -> Iterator[LocalSystem]:
    """Run `layer up` on ``home`` and free ports until the block ends; yield it ready.

    Args:
        arguments: Further flags.
        environment: Added to the variables of this process.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / f"up-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "layer_cli", "up", "--home", str(home)]
    with log.open("wb") as out:
        supervisor = subprocess.Popen(  # noqa: S603 -- our own command
            [*command, "--http-port=0", "--grpc-port=0", *arguments],
            env=child_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    system = LocalSystem(home, supervisor, log)
    try:
        system.wait_ready()
        yield system
    finally:
        if supervisor.poll() is None:
            try:
                system.stop()
            except subprocess.TimeoutExpired:
                system.kill_everything()


@contextmanager
def shared_systems(new_home: Callable[[], Path]) -> Iterator[Callable[[int], LocalSystem]]:
    """Yield what returns the system with so many gateways, started when it is first asked for.

    Systems are dear to start: modules whose tests keep to names of their own share them.
    """
    with contextlib.ExitStack() as stack:

        @functools.cache
        def system_of(gateway_count: int) -> LocalSystem:
            replicas = f"gateway={gateway_count}"
            return stack.enter_context(local_system(new_home(), "--replicas", replicas))

        yield system_of


def until(condition: Callable[[], T], *, what: str, seconds: float = START_S_MAX) -> T:
    """Poll until ``condition`` is truthy and return what it gave.

    Raises:
        TimeoutError: After ``seconds``, saying ``what`` was waited for.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(POLL_INTERVAL_S)
    return found
