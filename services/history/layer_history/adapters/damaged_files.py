"""Files that were found damaged: out of the way, for whoever wants to look at them, for a while.

They may hold what users typed, also in namespaces that were deleted since, and so must not stay.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

log = structlog.get_logger(__name__)

BYTES_MAX: Final = 256 * 1024**2
"""Of all of them; one by itself may have more."""


class DamagedFiles:
    """A folder of damaged files, which no other process changes.

    Args:
        kept_s: How long each is kept from when it was put aside.
        bytes_max: Of all of them together; the oldest make room for a new one.
    """

    def __init__(
        self, folder: Path, *, now_ns: Callable[[], int], kept_s: int, bytes_max: int = BYTES_MAX
    ) -> None:
        self._folder = folder
        self._now_ns = now_ns
        self._kept_ns = kept_s * 10**9
        self._bytes_max = bytes_max

    def add(self, path: Path) -> None:
        """Put a file aside; one that cannot be stays where it is."""
        with contextlib.suppress(OSError):
            kept = path.rename(self._folder / path.name)
            now_ns = self._now_ns()
            os.utime(kept, ns=(now_ns, now_ns))
            self._make_room()

    def expire(self) -> int:
        """Remove what was put aside too long ago; return how many files went."""
        oldest_ns = self._now_ns() - self._kept_ns
        expired = [path for path, status in self._found() if status.st_mtime_ns < oldest_ns]
        for path in expired:
            path.unlink(missing_ok=True)
            log.info("damaged_file_expired", file=path.name)
        return len(expired)

    def _make_room(self) -> None:
        found = self._found()
        size_bytes = sum(status.st_size for _, status in found)
        for path, status in found[:-1]:
            if size_bytes <= self._bytes_max:
                return
            path.unlink(missing_ok=True)
            log.warning("damaged_file_dropped", file=path.name, size_bytes=status.st_size)
            size_bytes -= status.st_size

    def _found(self) -> list[tuple[Path, os.stat_result]]:
        """Return what there is, the oldest first."""
        try:
            found = [(path, path.stat()) for path in self._folder.iterdir()]
        except OSError as error:
            log.warning("damaged_files_unreadable", cause=error.strerror)
            return []
        return sorted(found, key=lambda one: one[1].st_mtime_ns)
