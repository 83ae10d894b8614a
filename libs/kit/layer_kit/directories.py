"""Directories that belong to one process at a time, and files in them that survive a crash."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO, Final

from layer_kit.configuration import ConfigurationError

LOCK_NAME: Final = "lock"


def own_directory(path: Path, *, called: str = "data_directory") -> IO[bytes]:
    """Make ``path`` where it is missing, and own it until the returned file is closed.

    The lock is the kernel's, so that no crash leaves it behind.

    Args:
        path: The directory.
        called: What messages call it: the setting that names it.

    Raises:
        ConfigurationError: It cannot be written, or another process owns it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock_file = (path / LOCK_NAME).open("ab")
    except OSError as error:
        raise unusable(path, error, called=called) from error
    if not try_lock(lock_file):
        lock_file.close()
        raise ConfigurationError(f"{called} {path} is in use by another process; give each its own")
    return lock_file


def unusable(path: Path, error: OSError, *, called: str = "data_directory") -> ConfigurationError:
    """Return what tells that a directory cannot serve."""
    reason = os.strerror(error.errno or 0)
    return ConfigurationError(f"{called} {path} cannot be written: {reason}")


def try_lock(file: IO[bytes] | int) -> bool:
    """Lock an open file unless another process holds its lock; closing it lets go."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
