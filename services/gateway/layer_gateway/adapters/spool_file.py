"""A file without a name: it ends with the process, however that ends."""

from __future__ import annotations

import os
import tempfile

from layer_kit.errors import UnavailableError


class SpoolFile:
    """Implements ``Spool``.

    Args:
        directory: Where the file is; empty means where the system has temporary files.
        bytes_max: What it may take there.
    """

    def __init__(self, directory: str, *, bytes_max: int) -> None:
        self._file = tempfile.TemporaryFile(dir=directory or None, buffering=0)  # noqa: SIM115
        self._bytes_max = bytes_max
        self._size_bytes = 0

    def append(self, text: bytes) -> int:
        start = self._size_bytes
        if start + len(text) > self._bytes_max:
            raise UnavailableError(
                "SPOOL_FULL",
                f"What the scan has found takes more than {self._bytes_max} bytes.",
                bytes_max=self._bytes_max,
            )
        try:
            os.pwrite(self._file.fileno(), text, start)
        except OSError as error:
            raise UnavailableError(
                "SPOOL_FULL", f"There is no room for what the scan has found: {error.strerror}."
            ) from error
        self._size_bytes += len(text)
        return start

    def read(self, start: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, start)

    def clear(self) -> None:
        self._size_bytes = 0
        os.ftruncate(self._file.fileno(), 0)

    def close(self) -> None:
        self._file.close()
