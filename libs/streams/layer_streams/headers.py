"""Header lists: compressed by HPACK, and what gRPC says in them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

from layer_kit.errors import LayerError
from layer_kit.rpc.errors import DETAILS_KEY, from_trailers, to_status
from layer_streams.faults import ConnectionFaultError, Fault
from layer_streams.limits import HEADER_BYTES_MAX

CONTENT_TYPE: Final = "application/grpc"
UNKNOWN: Final = 2
TABLE_BYTES_MAX: Final = 4096
_TIMEOUT: Final = re.compile(r"(\d{1,8})([HMSmun])")
_UNIT_S: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PLAIN: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
"""What a message in a trailer needs no escape for."""

_OF_HTTP: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
"""The gRPC status that an answer of another protocol stands for."""

Headers = dict[str, str]


class HeaderReader:
    """Reads the header lists of one connection, in the order in which they arrive."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=HEADER_BYTES_MAX)

    def read(self, block: bytes) -> Headers:
        """Return the fields of a list; of a name that comes twice the last one.

        Raises:
            ConnectionFaultError: When it cannot be read, and so no further one either.
        """
        try:
            listed = self._decoder.decode(block, raw=True)
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFaultError(Fault.COMPRESSION_ERROR, "unreadable headers") from error
        return {
            bytes(name).decode("latin-1"): bytes(value).decode("latin-1") for name, value in listed
        }


class HeaderWriter:
    """Writes the header lists of one connection."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def limit_table(self, size: int) -> None:
        """Keep to the size of the table that the peer allows."""
        self._encoder.header_table_size = min(size, TABLE_BYTES_MAX)

    def write(self, fields: Iterable[tuple[str, str]]) -> bytes:
        """Return a list, compressed."""
        return bytes(self._encoder.encode([(name, value) for name, value in fields]))


def trailers(error: LayerError | None, *, domain: str) -> list[tuple[str, str]]:
    """Return how a call went, as grpc's own servers tell it."""
    if error is None:
        return [("grpc-status", "0")]
    status = to_status(error, domain=domain)
    details = base64.b64encode(status.SerializeToString()).rstrip(b"=").decode()
    return [
        ("grpc-status", str(status.code)),
        ("grpc-message", quote(status.message, safe=_PLAIN)),
        (DETAILS_KEY, details),
    ]


def outcome(fields: Mapping[str, str]) -> LayerError | None:
    """Return the error in the trailers of a call, None when it went well."""
    status = fields.get("grpc-status", "")
    number = int(status) if status.isdecimal() else UNKNOWN
    if number == 0:
        return None
    message = unquote_to_bytes(fields.get("grpc-message", "")).decode(errors="replace")
    encoded = fields.get(DETAILS_KEY, "")
    try:
        details = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError):  # what cannot be read says nothing
        details = b""
    return from_trailers(number, message, details)


def foreign_answer(fields: Mapping[str, str]) -> LayerError | None:
    """Return the error of an answer that is none of gRPC's, None when it is one."""
    status = fields.get(":status", "")
    if status == "200" and fields.get("content-type", "").startswith(CONTENT_TYPE):
        return None
    number = _OF_HTTP.get(int(status), UNKNOWN) if status.isdecimal() else UNKNOWN
    return from_trailers(number, f"The peer answered with HTTP status {status[:16]!r}.", b"")


def timeout_s(text: str) -> float | None:
    """Read a ``grpc-timeout``; None when it is none."""
    found = _TIMEOUT.fullmatch(text)
    return int(found[1]) * _UNIT_S[found[2]] if found else None
