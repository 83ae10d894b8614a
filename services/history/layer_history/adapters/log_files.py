"""Log files: records one after the other, each with its length and checksum.

    record = length (4 bytes, little-endian) · CRC-32 of the body (4 bytes) · body

A crash can leave the last record incomplete; nobody was told that it is kept. A record whose
checksum is wrong is passed by, and so is the rest of a file in which no further record can be made
out.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

RECORD_BYTES_MAX: Final = 128 * 1024 * 1024
_HEADER: Final = struct.Struct("<II")


class LogFile:
    """A log file that is being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def append(self, records: Sequence[bytes]) -> int:
        """Write records and sync them; return how many bytes that were.

        Raises:
            OSError: The file must not be written any further.
        """
        pieces = [
            piece
            for record in records
            for piece in (_HEADER.pack(len(record), zlib.crc32(record)), record)
        ]
        data = memoryview(b"".join(pieces))
        written_bytes = 0
        while written_bytes < len(data):
            written_bytes += os.write(self._descriptor, data[written_bytes:])
        os.fdatasync(self._descriptor)
        self.size_bytes += written_bytes
        return written_bytes

    def close(self) -> None:
        os.close(self._descriptor)


class LogReader:
    """Reads the records of a finished log file, and tells whether some could not be read."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        self.is_damaged = False

    def __iter__(self) -> Iterator[bytes]:
        data, at = self._data, 0
        while at + _HEADER.size <= len(data):
            length, checksum = _HEADER.unpack_from(data, at)
            start, end = at + _HEADER.size, at + _HEADER.size + length
            if not 0 < length <= RECORD_BYTES_MAX:
                self.is_damaged = any(data[at:])  # zeros are what a power cut leaves at the end
                return
            if end > len(data):
                return
            body = data[start:end]
            if zlib.crc32(body) == checksum:
                yield body
            else:
                self.is_damaged = True
            at = end
