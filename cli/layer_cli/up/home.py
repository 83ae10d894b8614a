"""The directory a local system lives in, and the promise that one system at a time does.

Two locks, both the kernel's, so that no crash leaves one behind. ``run/lock`` is held by the
supervisor alone. ``run/processes.lock`` is held by the supervisor and, through an inherited
descriptor, by every process it started: after a ``kill -9`` of the supervisor the next one waits
until the last of them has drained and let go of the data.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from layer_kit.configuration import ConfigurationError
from layer_kit.directories import try_lock

SOCKET_PATH_BYTES_MAX: Final = 107
"""``sun_path`` of unix(7) has 108 bytes with the final NUL."""
PREDECESSOR_S_MAX: Final = 20.0
POLL_INTERVAL_S: Final = 0.05
STATE_FILE: Final = "state.json"
LOCK_FILE: Final = "lock"
PROCESSES_LOCK_FILE: Final = "processes.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """An opened home. Made by :func:`open_home`."""

    path: Path
    run: Path
    sockets: Path
    """``run``, or a private temporary directory where that is too deep for unix sockets."""
    processes_lock: int
    """The descriptor that every process of the system inherits."""

    @property
    def state_file(self) -> Path:
        return state_file(self.path)

    def socket_address(self, name: str) -> str:
        return f"unix:{self.sockets / f'{name}.sock'}"


@contextmanager
def open_home(path: Path, *, socket_names: Sequence[str]) -> Iterator[Home]:
    """Create the home where needed, own it for the block, and tidy ``run`` at its end.

    Args:
        path: The directory.
        socket_names: The sockets that will be needed; their names must fit a unix address.

    Raises:
        ConfigurationError: It cannot be written, or another system lives in it.
    """
    path = path.absolute()
    run = path / "run"
    try:
        run.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    with _owned(run / LOCK_FILE, path), _processes_lock(run / PROCESSES_LOCK_FILE, path) as lock:
        sockets = _socket_directory(run, path, socket_names)
        home = Home(path=path, run=run, sockets=sockets, processes_lock=lock)
        try:
            yield home
        finally:
            _tidy(home, socket_names)


def state_file(path: Path) -> Path:
    """Return where the supervisor of the home at ``path`` tells what runs."""
    return path / "run" / STATE_FILE


def is_owned(path: Path) -> bool:
    """Tell whether a supervisor lives in the home at ``path``."""
    try:
        descriptor = os.open(path / "run" / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _owned(lock_file: Path, home: Path) -> Iterator[None]:
    with _opened(lock_file, home) as descriptor:
        if not try_lock(descriptor):
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise ConfigurationError(
                f"another `layer up` (pid {owner}) runs in {home}; "
                "stop it, or choose another --home"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield


@contextmanager
def _processes_lock(lock_file: Path, home: Path) -> Iterator[int]:
    with _opened(lock_file, home) as descriptor:
        deadline_s = time.monotonic() + PREDECESSOR_S_MAX
        while not try_lock(descriptor):
            if time.monotonic() > deadline_s:
                raise ConfigurationError(
                    f"processes of an earlier `layer up` still run in {home}; "
                    "end those that have its files open, or choose another --home"
                )
            time.sleep(POLL_INTERVAL_S)
        yield descriptor


@contextmanager
def _opened(lock_file: Path, home: Path) -> Iterator[int]:
    try:
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unwritable(home, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _socket_directory(run: Path, home: Path, names: Sequence[str]) -> Path:
    longest = max((len(os.fsencode(run / f"{name}.sock")) for name in names), default=0)
    if longest <= SOCKET_PATH_BYTES_MAX:
        return run
    # The same home gets the same directory again, so that a killed system leaves one at most.
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"layer-{os.geteuid()}-{digest}"
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    is_private = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == stat.S_IRWXU
    if not is_private or found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{directory} is not a private directory of yours; remove it, or use a shorter --home"
        )
    return directory


def _tidy(home: Home, socket_names: Sequence[str]) -> None:
    """Remove what means something only while the system runs. The locks stay: see flock(2)."""
    home.state_file.unlink(missing_ok=True)
    for name in socket_names:
        (home.sockets / f"{name}.sock").unlink(missing_ok=True)
    if home.sockets != home.run:
        shutil.rmtree(home.sockets, ignore_errors=True)


def _unwritable(home: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot write to {home}: {error.strerror}; choose another directory with --home"
    )
