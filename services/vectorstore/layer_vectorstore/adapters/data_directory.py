"""The directory of the store, owned by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from layer_kit.configuration import ConfigurationError

LOCK_NAME: Final = "lock"


@contextmanager
def owned_directory(path: Path) -> Iterator[Path]:
    """Make the directory and hold its lock for the length of the block.

    Raises:
        ConfigurationError: When it cannot be written, or another process holds it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot write to {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    except BlockingIOError as error:
        raise ConfigurationError(f"{path} is in use by another process") from error
    finally:
        os.close(descriptor)
