"""Bodies, plain or gzipped: requests are read within a bound, answers made small on demand."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web
from isal import igzip, isal_zlib
from isal.igzip_lib import IsalError

from layer_kit.errors import LayerError, PayloadTooLargeError
from layer_vectorstore.domain.errors import RefusedError

CHUNK_BYTES: Final = 1 << 20
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
GZIP_WINDOW_BITS: Final = 31
GZIP_LEVEL: Final = 1
GZIPPED_BYTES_MIN: Final = 1024
"""Smaller answers stay as they are: the head of a gzip stream would eat what it saves."""


async def read_body(request: web.BaseRequest, bytes_max: int) -> bytes:
    """Return the bytes of a body, inflated if they came gzipped.

    Raises:
        PayloadTooLargeError: ``BODY_TOO_LARGE``, before more than the bound is held.
        RefusedError: ``BODY_ENCODING_INVALID``.
    """
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    match request.headers.get("content-encoding", "identity").lower():
        case "identity" | "":
            inflate = None
        case "gzip":
            inflate = isal_zlib.decompressobj(wbits=GZIP_WINDOW_BITS)
        case other:
            raise RefusedError(
                "BODY_ENCODING_INVALID", f"💔 content-encoding {other[:64]!r} is not supported"
            )
    if request.headers.get("expect", "").lower() == "100-continue" and request.transport:
        # Who asks before sending a large body, as curl does, waits a second for this.
        request.transport.write(CONTINUE)
    parts: list[bytes] = []
    size_bytes = 0
    async for chunk in request.content.iter_chunked(CHUNK_BYTES):
        for part in _inflated(inflate, chunk, bytes_max) if inflate else (chunk,):
            size_bytes += len(part)
            if size_bytes > bytes_max:
                raise _too_large(bytes_max)
            parts.append(part)
    if inflate is not None and not inflate.eof:
        raise RefusedError("BODY_ENCODING_INVALID", "💔 the gzip body ends too early")
    return b"".join(parts)


def accepts_gzip(accepted: str) -> bool:
    """Return whether an ``Accept-Encoding`` header names gzip without refusing it."""
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        if name.strip() == "gzip":
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def gzipped(response: web.Response) -> web.Response:
    """Compress the body of an answer that is large enough to gain by it."""
    body = response.body
    if isinstance(body, bytes) and len(body) >= GZIPPED_BYTES_MIN:
        response.body = igzip.compress(body, compresslevel=GZIP_LEVEL)
        response.headers["content-encoding"] = "gzip"
    return response


def parse_json(body: bytes) -> Any:
    """Decode a JSON body.

    Raises:
        RefusedError: ``JSON_INVALID``.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(
            "JSON_INVALID", f"Failed to parse the request body as JSON: {error}"
        ) from error


def _inflated(inflate: Any, chunk: bytes, bytes_max: int) -> list[bytes]:
    """Inflate a chunk in steps, so that a small one cannot fill the memory."""
    parts: list[bytes] = []
    total_bytes = 0
    pending = chunk
    try:
        while pending and not inflate.eof and total_bytes <= bytes_max:
            part = inflate.decompress(pending, CHUNK_BYTES)
            total_bytes += len(part)
            parts.append(part)
            pending = inflate.unconsumed_tail
            if not part and not pending:
                break
    except IsalError as error:  # type: ignore[misc]  # its stub forgets the base class
        raise RefusedError("BODY_ENCODING_INVALID", f"💔 invalid gzip body: {error}") from error
    return parts


def _too_large(bytes_max: int) -> LayerError:
    return PayloadTooLargeError(
        "BODY_TOO_LARGE", f"💔 request body exceeds the limit of {bytes_max} bytes"
    )
