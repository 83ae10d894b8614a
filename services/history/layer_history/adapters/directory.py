"""The data directory: who owns it, and what tells its replica from every other."""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path

from layer_kit.configuration import ConfigurationError


class DataDirectory:
    """Owns a directory from opening to close."""

    def __init__(self, path: Path) -> None:
        """Open ``path``, making it if need be.

        Raises:
            ConfigurationError: When it cannot be written, or another process owns it.
        """
        self.logs = path / "log"
        self.bundles = path / "bundles"
        self.damaged = path / "damaged"
        self.policies = path / "policies.json"
        try:
            for folder in (self.logs, self.bundles, self.damaged):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = (path / "lock").open("w")
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock_file.close()
            raise ConfigurationError(
                f"data_directory {path} is in use by another process; give each its own"
            ) from error
        try:
            self.replica = _replica(path / "replica")
        except OSError as error:
            self._lock_file.close()
            raise _unusable(path, error) from error

    def close(self) -> None:
        """Let another process have it."""
        self._lock_file.close()


def write_whole(path: Path, body: bytes) -> None:
    """Write a file that is there whole or not at all, and survives a crash once this returns."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make names that were added to or removed from a folder survive a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replica(path: Path) -> str:
    """Return the name of this replica, which it keeps for as long as it keeps its directory."""
    try:
        found = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        found = ""
    if not found:
        found = secrets.token_hex(4)
        write_whole(path, found.encode())
    return found


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"data_directory {path} cannot be written: {os.strerror(error.errno or 0)}"
    )
