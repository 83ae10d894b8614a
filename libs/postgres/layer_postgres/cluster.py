"""One PostgreSQL server: created when it is not there yet, started, followed, stopped.

It listens on a unix socket only. Whoever may enter the socket's folder may connect.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlencode

from layer_kit.configuration import ConfigurationError
from layer_kit.directories import try_lock
from layer_postgres.installation import MAJOR_VERSION, Identity, binary

USER: Final = "layer"
MAINTENANCE_DATABASE: Final = "postgres"
SOCKET_FILE: Final = ".s.PGSQL.5432"
PREDECESSOR_S_MAX: Final = 20.0
READY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 15.0
POLL_INTERVAL_S: Final = 0.02
VOLATILE: Final = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""For data that may be lost with the machine: several times as fast to start and to commit."""


class Cluster:
    """A server over one folder. One process at a time may run it.

    Its methods block; only :meth:`start` must be called on a thread that lives as long as the
    server should, since the kernel ends the server with that thread.
    """

    def __init__(
        self, folder: Path, *, sockets: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        """Describe a server; nothing is touched yet.

        Args:
            folder: Gets the data, in ``data``.
            sockets: The folder of the unix socket, which must exist.
            settings: Of ``postgresql.conf``.
        """
        self._folder = folder.absolute()
        self._sockets = sockets.absolute()
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self._folder / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = MAINTENANCE_DATABASE) -> str:
        """Return the URL of a database of this server."""
        return f"postgresql:///{database}?{urlencode({'host': self._sockets, 'user': USER})}"

    def create(self) -> None:
        """Create the data unless it is there. A crash in the middle leaves nothing half done.

        Raises:
            ConfigurationError: It cannot be created, or another version has written it.
        """
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock() as descriptor:
                if self.data.exists():
                    self._check_version()
                else:
                    self._create(descriptor)
        except OSError as error:
            raise ConfigurationError(f"cannot use {self._folder}: {error.strerror}") from error

    def start(self, log: IO[bytes] | None = None) -> None:
        """Start the server; it ends with this thread, whatever ends that.

        Args:
            log: Gets what the server logs; None = our stderr.

        Raises:
            ConfigurationError: The server of an earlier process does not end.
        """
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        command = Identity.of(self.data).command(binary("postgres"), "-D", str(self.data), *options)
        with self._lock() as descriptor:
            # Every process of the server holds the lock, so it is free when the last has ended.
            self._process = subprocess.Popen(  # noqa: S603 -- our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=_environment(),
                pass_fds=[descriptor],
                start_new_session=True,
            )

    def wait_ready(self) -> None:
        """Wait until the server takes connections.

        Raises:
            RuntimeError: It ended instead.
            TimeoutError: It took longer than ``READY_S_MAX``.
        """
        deadline_s = time.monotonic() + READY_S_MAX
        while not self._is_ready():
            if (code := self.poll()) is not None:
                raise RuntimeError(f"PostgreSQL ended with {code} before it was ready")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"PostgreSQL was not ready after {READY_S_MAX:g} s")
            time.sleep(POLL_INTERVAL_S)

    def poll(self) -> int | None:
        """Return the exit code of the server, None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End the server and wait for it. SIGINT ends sessions, SIGQUIT is as a crash."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def _create(self, lock: int) -> None:
        unfinished = self._folder / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        identity = Identity.of(unfinished)
        identity.own(unfinished)
        command = identity.command(
            binary("initdb"),
            *("--pgdata", str(unfinished), "--username", USER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-instructions"),
            *(("--no-sync",) if self._settings.get("fsync") == "off" else ()),
        )
        outcome = subprocess.run(  # noqa: S603 -- our own command
            command,
            capture_output=True,
            check=False,
            env=_environment(),
            pass_fds=[lock],
            timeout=READY_S_MAX,
        )
        if outcome.returncode:
            said = " ".join(outcome.stderr.decode(errors="replace").split())
            raise ConfigurationError(f"cannot create {self.data}: {said}")
        unfinished.rename(self.data)

    def _is_ready(self) -> bool:
        """Read it where ``pg_ctl`` does: the last line of the server's own file."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        is_ours = lines[:1] == [str(self.pid)]
        return is_ours and len(lines) >= 8 and lines[7].strip() == "ready"  # noqa: PLR2004

    def _check_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != MAJOR_VERSION:
            raise ConfigurationError(
                f"{self.data} was written by PostgreSQL {version}, and this is {MAJOR_VERSION}: "
                "move it over with pg_dump, or remove it"
            )

    @contextmanager
    def _lock(self) -> Iterator[int]:
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline_s = time.monotonic() + PREDECESSOR_S_MAX
        try:
            while not try_lock(descriptor):
                if time.monotonic() > deadline_s:
                    raise ConfigurationError(f"another PostgreSQL runs in {self._folder}")
                time.sleep(POLL_INTERVAL_S)
            yield descriptor
        finally:
            os.close(descriptor)


@contextmanager
def running_cluster(
    folder: Path, *, sockets: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """Run a server whose data may be lost for the length of the block; for tests and benches."""
    cluster = Cluster(folder, sockets=sockets, settings={**VOLATILE, **(settings or {})})
    cluster.create()
    with (folder / "log").open("ab") as log:
        cluster.start(log)
        try:
            cluster.wait_ready()
            yield cluster
        finally:
            cluster.stop()


def _environment() -> dict[str, str]:
    """Return the environment without what would steer PostgreSQL's programs elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
