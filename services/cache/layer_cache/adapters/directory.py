"""The data directory: who owns it, and whether what lies in it may be believed.

Neither RocksDB nor SQLite syncs every write here, so a crash of the process loses no delete but a
crash of the machine may lose the last deletes, and with them bring overwritten rows back. The
file ``trust`` guards against that. It holds ``closed`` after a clean stop, and the machine's boot
id while a process runs. Contents that were neither closed cleanly nor written since this boot are
thrown away, and so are those of a process that took the file away because it could not record
something: removing a file works even on a full disk.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final

import structlog

from layer_kit.directories import LOCK_NAME, own_directory, try_lock, unusable, write_whole
from layer_kit.errors import UnavailableError

log = structlog.get_logger(__name__)

FORMAT: Final = "1"
"""Raised when entries or the ledger change their layout; older contents are thrown away."""

_TRUST: Final = "trust"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class DataDirectory:
    """Owns a directory from opening to close. Contents that cannot be trusted are removed."""

    def __init__(self, path: Path, *, backend: str = "embedded") -> None:
        """Open ``path``, making it if need be. What another backend left there is thrown away.

        Raises:
            ConfigurationError: When it cannot be written, or another process owns it.
        """
        self._trust = path / _TRUST
        self._format = FORMAT if backend == "embedded" else f"{FORMAT}-{backend}"
        self.rows = path / "rows"
        self.records = path / "records"
        self.ledger = path / "ledger.sqlite"
        self._lock_file = own_directory(path)
        try:
            self._begin()
        except OSError as error:
            self._lock_file.close()
            raise unusable(path, error) from error
        self._is_trusted = True

    @property
    def was_closed(self) -> bool:
        """Whether the contents are those of a run that came to its end."""
        return self._was_closed

    def distrust(self, why: str) -> None:
        """Have everything thrown away at the next start, because a change was not recorded.

        Raises:
            UnavailableError: ``STORE_DOWN``, when even that fails.
        """
        if not self._is_trusted:
            return
        try:
            self._trust.unlink(missing_ok=True)
        except OSError as error:
            raise UnavailableError(
                "STORE_DOWN", "The cache can neither record the change nor discard its contents."
            ) from error
        self._is_trusted = False
        log.warning("contents_distrusted", why=why)

    def wipe(self) -> None:
        """Remove the contents. Nobody may have them open."""
        for folder in (self.rows, self.records):
            if folder.exists():
                shutil.rmtree(folder)
        for path in self.ledger.parent.glob(f"{self.ledger.name}*"):
            path.unlink()

    def close(self) -> None:
        """Declare the contents complete and synced, unless they are distrusted; let go."""
        try:
            if self._is_trusted:
                write_whole(self._trust, f"{self._format} closed".encode())
        except OSError as error:
            log.warning("trust_not_recorded", error=str(error))
        finally:
            self._lock_file.close()

    def _begin(self) -> None:
        boot = f"{self._format} {_boot_id()}"
        try:
            found = self._trust.read_text(encoding="ascii")
        except FileNotFoundError:
            found = ""
        self._was_closed = found == f"{self._format} closed"
        if found not in (f"{self._format} closed", boot) or found == f"{self._format} ":
            if self.rows.exists():
                log.warning("contents_thrown_away", trust=found)
            self.wipe()
        write_whole(self._trust, boot.encode())


def _boot_id() -> str:
    """Return what names this run of the machine's kernel; empty where the system has no name."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def distrust_directory(path: Path) -> None:
    """Have what lies in ``path`` thrown away by whoever opens it next, unless it is in use."""
    with contextlib.suppress(OSError), (path / LOCK_NAME).open("rb") as lock_file:
        if try_lock(lock_file):
            (path / _TRUST).unlink(missing_ok=True)
