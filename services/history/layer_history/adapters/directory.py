"""The data directory: who owns it, and what tells its replica from every other."""

from __future__ import annotations

import secrets
from pathlib import Path

from layer_kit.directories import own_directory, unusable, write_whole


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
        self._lock_file = own_directory(path)
        try:
            for folder in (self.logs, self.bundles, self.damaged):
                folder.mkdir(exist_ok=True)
            self.replica = _replica(path / "replica")
        except OSError as error:
            self._lock_file.close()
            raise unusable(path, error) from error

    def close(self) -> None:
        """Let another process have it."""
        self._lock_file.close()


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
