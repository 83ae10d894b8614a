"""Messages of gRPC: how they are put together from the data of a stream."""

from __future__ import annotations

from struct import Struct
from typing import Final

from layer_kit.errors import LayerError, QuotaExceededError, UnsupportedError
from layer_kit.rpc.limits import MESSAGE_BYTES_MAX

HEAD: Final = Struct(">BI")
HEAD_BYTES: Final = HEAD.size


class MessageReader:
    """Puts messages together; keeps no more than the one that is not whole yet."""

    def __init__(self) -> None:
        self.is_between = True
        """Whether no message has begun."""
        self._kept = bytearray()
        self._wanted_bytes = HEAD_BYTES

    def read(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole now.

        Raises:
            LayerError: When one is compressed or too large.
        """
        if self._kept:
            self._kept += data
            if len(self._kept) < self._wanted_bytes:
                return []
            data = bytes(self._kept)
        messages, at, end = list[bytes](), 0, len(data)
        wanted = HEAD_BYTES
        while end - at >= HEAD_BYTES:
            wanted = HEAD_BYTES + _size(data, at)
            if end - at < wanted:
                break
            messages.append(data[at + HEAD_BYTES : at + wanted])
            at += wanted
            wanted = HEAD_BYTES
        self._kept, self._wanted_bytes = bytearray(data[at:]), wanted
        self.is_between = at == end
        return messages


def _size(data: bytes, at: int) -> int:
    is_compressed, size = HEAD.unpack_from(data, at)
    if is_compressed:
        raise _unsupported()
    if size > MESSAGE_BYTES_MAX:
        raise QuotaExceededError(
            "MESSAGE_TOO_LARGE", f"A message of {size} bytes; the limit is {MESSAGE_BYTES_MAX}."
        )
    return int(size)


def _unsupported() -> LayerError:
    return UnsupportedError("COMPRESSION_UNSUPPORTED", "Streams take no compressed messages.")
