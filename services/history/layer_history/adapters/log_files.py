"""Log files: records one after the other, each behind a header.

    record = mark (4 bytes) · length of the body (4 bytes, little-endian) · CRC-32 of the body
             (4 bytes) · CRC-32 of the header so far (4 bytes) · body, in UTF-8

A crash can leave the last record incomplete; nobody was told that it is kept. A record that is
damaged is passed by: behind a body that does not fit its checksum the next header follows, and
where a header is damaged it is looked for. UTF-8 has no byte as the first of the mark.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_MARK: Final = b"\xffLG1"
_HEADER: Final = struct.Struct("<4sII")
_CHECKSUM: Final = struct.Struct("<I")
_HEADER_BYTES: Final = _HEADER.size + _CHECKSUM.size


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
        pieces = [piece for record in records for piece in (_header(record), record)]
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
    """Reads the records of a finished log file, and counts the damages that it passes by."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        self.damages_count = 0

    def __iter__(self) -> Iterator[bytes]:
        data, at = self._data, 0
        while at + _HEADER_BYTES <= len(data):
            if not self._is_header(at):
                if not any(data[at:]):
                    return  # what a power cut leaves at the end
                self.damages_count += 1
                at = self._next_header(at + 1)
                continue
            _, length, checksum = _HEADER.unpack_from(data, at)
            start, end = at + _HEADER_BYTES, at + _HEADER_BYTES + length
            if end > len(data):
                return
            body = data[start:end]
            if zlib.crc32(body) == checksum:
                yield body
            else:
                self.damages_count += 1
            at = end

    def _is_header(self, at: int) -> bool:
        found = self._data[at : at + _HEADER.size]
        (checksum,) = _CHECKSUM.unpack_from(self._data, at + _HEADER.size)
        return found.startswith(_MARK) and zlib.crc32(found) == checksum

    def _next_header(self, at: int) -> int:
        """Return where the next intact header from ``at`` on begins, or the end."""
        end = len(self._data)
        while (found := self._data.find(_MARK, at)) >= 0 and found + _HEADER_BYTES <= end:
            if self._is_header(found):
                return found
            at = found + 1
        return end


def _header(record: bytes) -> bytes:
    header = _HEADER.pack(_MARK, len(record), zlib.crc32(record))
    return header + _CHECKSUM.pack(zlib.crc32(header))
