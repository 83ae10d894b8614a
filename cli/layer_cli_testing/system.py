"""`layer up` as a real process over tiny services (``tiny_service.py``), in a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from layer_cli.up.home import state_file
from layer_cli.up.state import ProcessRecord, ProcessState, SystemRecord, read_state

SERVICES = ("vectorstore", "postgres", "cache", "snapshots", "history", "runtime", "gateway")
WAIT_S_MAX = 15.0
POLL_INTERVAL_S = 0.02


class System:
    """A home, the tiny services that may run in it, and the `layer` commands started on it."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.behaviour = directory / "behaviour"
        self.behaviour.mkdir()
        self.supervisors: list[subprocess.Popen[str]] = []
        self._packages = directory / "packages"
        self._directory = directory
        for service in SERVICES:
            package = self._packages / f"layer_{service}"
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            shutil.copy(Path(__file__).with_name("tiny_service.py"), self.program(service))

    def program(self, service: str) -> Path:
        """Return the file that stands in for a service."""
        return self._packages / f"layer_{service}" / "__main__.py"

    def behave(self, service: str, **behaviour: object) -> None:
        """Change what a tiny service does, even while it runs."""
        temporary = self.behaviour / f"{service}.new"
        temporary.write_text(json.dumps(behaviour))
        temporary.replace(self.behaviour / f"{service}.json")

    def start(
        self,
        *arguments: str,
        stdout: int | None = None,
        stderr: int | None = None,
        **environment: str,
    ) -> subprocess.Popen[str]:
        """Start `layer up` on free ports, without waiting for anything.

        Args:
            arguments: Flags beside the ports.
            stdout: A descriptor for the table; by default it is kept for :attr:`stdout`.
            stderr: A descriptor for the logs; by default they are kept for :attr:`stderr`.
            environment: Added to the test's own variables.
        """
        number = len(self.supervisors)
        with self._out(number).open("w") as out, self._err(number).open("w") as err:
            supervisor = subprocess.Popen(  # noqa: S603 -- our own command
                self._command("up", "--http-port=0", "--grpc-port=0", *arguments),
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err if stderr is None else stderr,
                text=True,
            )
        self.supervisors.append(supervisor)
        return supervisor

    def start_ready(
        self, *arguments: str, stderr: int | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        """Start `layer up` and wait until it says that everything is ready."""
        supervisor = self.start(*arguments, stdout=None, stderr=stderr, **environment)
        until(lambda: "Stop with Ctrl-C" in self.stdout or supervisor.poll() is not None)
        assert supervisor.poll() is None, self.stderr
        return supervisor

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run another verb of `layer` to its end."""
        return subprocess.run(  # noqa: S603 -- our own command
            self._command(*arguments),
            env=self.environment(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S_MAX,
        )

    @property
    def stdout(self) -> str:
        """What the `layer up` started last has printed."""
        return self._out(len(self.supervisors) - 1).read_text()

    @property
    def stderr(self) -> str:
        return self._err(len(self.supervisors) - 1).read_text()

    @property
    def state(self) -> SystemRecord | None:
        return read_state(state_file(self.home))

    def process(self, name: str) -> ProcessRecord:
        assert self.state is not None
        return next(one for one in self.state.processes if one.name == name)

    @property
    def pids(self) -> list[int]:
        return [one.pid for one in self.state.processes if one.pid] if self.state else []

    @property
    def events(self) -> list[tuple[str, str, int]]:
        """Service, event and pid, in the order in which they happened."""
        path = self.behaviour / "events"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, event, int(pid)) for name, event, pid in map(str.split, lines)]

    def moment(self, service: str, event: str) -> int:
        """Return where in ``events`` the service did something first."""
        return [(name, what) for name, what, _ in self.events].index((service, event))

    def environment_of(self, service: str) -> dict[str, str]:
        text = (self.behaviour / f"{service}.environment").read_text()
        environment: dict[str, str] = json.loads(text)
        return environment

    def wait_ready(self, name: str, *, restart_count: int) -> ProcessRecord:
        """Wait until a process is ready after that many restarts."""
        until(
            lambda: (
                self.process(name).state is ProcessState.READY
                and self.process(name).restart_count == restart_count
            )
        )
        return self.process(name)

    def close(self) -> None:
        pids = [pid for _, _, pid in self.events]
        for supervisor in self.supervisors:
            if supervisor.poll() is None:
                supervisor.kill()
            supervisor.wait()
        for pid in pids:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables under which the tiny services stand in for the real ones."""
        paths = [str(Path(path).absolute()) for path in sys.path if path]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self._packages), *paths]),
            "LAYER_HOME": str(self.home),
            "LAYER_TEST_BEHAVIOUR": str(self.behaviour),
            **(extra or {}),
        }

    def _out(self, number: int) -> Path:
        return self._directory / f"{number}.stdout"

    def _err(self, number: int) -> Path:
        return self._directory / f"{number}.stderr"

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "layer_cli", *arguments]


def until(condition: Callable[[], Any]) -> None:
    """Poll until ``condition`` holds, at most ``WAIT_S_MAX`` seconds."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(POLL_INTERVAL_S)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and was not reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"
