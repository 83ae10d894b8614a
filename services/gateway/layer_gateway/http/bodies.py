"""Reading request bodies within their bound, inflating what layer itself must read."""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp import web
from isal import isal_zlib

from layer_gateway.http.protocol import EdgeProtocol
from layer_kit.errors import (
    MalformedRequestError,
    MediaTypeError,
    PayloadTooLargeError,
    SlowRequestError,
)

BODY_BYTES_PER_SECOND_MIN: Final = 32 * 1024
"""A body may take as long as this would, and the patience of the edge on top."""

GZIP_WINDOW_BITS: Final = 31
JSON_TYPES: Final = ("application/json", "application/problem+json", "text/json")


async def read_body(request: web.BaseRequest, bytes_max: int) -> bytes:
    """Return the body as it was sent.

    Raises:
        PayloadTooLargeError: ``BODY_TOO_LARGE``.
        SlowRequestError: ``BODY_TOO_SLOW``.
    """
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    # `request.read()` grows one buffer and copies it at its end: a third of reading a large write.
    content, size_bytes = request.content, 0
    if content.is_eof():  # as is usual: it came along with the head
        body: bytes = content.read_nowait()
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    chunks: list[bytes] = []
    patience_s = cast("EdgeProtocol", request.protocol).patience_s
    latest_s = asyncio.get_running_loop().time() + patience_s
    try:
        async with asyncio.timeout_at(latest_s) as deadline:
            while not content.at_eof():
                chunk = await content.readany()
                size_bytes += len(chunk)
                if size_bytes > bytes_max:
                    raise _too_large(bytes_max)
                chunks.append(chunk)
                deadline.reschedule(latest_s + size_bytes / BODY_BYTES_PER_SECOND_MIN)
    except TimeoutError as error:
        raise SlowRequestError(
            "BODY_TOO_SLOW",
            f"The body came too slowly: {size_bytes} bytes so far; "
            f"send {BODY_BYTES_PER_SECOND_MIN} bytes a second or more.",
            size_bytes=size_bytes,
        ) from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_json_body(request: web.BaseRequest, bytes_max: int) -> bytes:
    """Return a JSON body, inflated if it was sent compressed.

    Raises:
        MediaTypeError: ``CONTENT_TYPE_NOT_JSON`` or ``CONTENT_ENCODING_UNKNOWN``.
        MalformedRequestError: ``GZIP_MALFORMED``.
        PayloadTooLargeError: ``BODY_TOO_LARGE``, also of an inflated body.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() not in JSON_TYPES:
        raise MediaTypeError(
            "CONTENT_TYPE_NOT_JSON", "Send this body with `content-type: application/json`."
        )
    body = await read_body(request, bytes_max)
    match request.headers.get("content-encoding", "identity").strip().lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return _inflated(body, bytes_max)
        case encoding:
            raise MediaTypeError(
                "CONTENT_ENCODING_UNKNOWN",
                f"Content encoding {encoding!r} is not read here; send gzip or none.",
                encoding=encoding,
            )


def _inflated(body: bytes, bytes_max: int) -> bytes:
    """Inflate all members of ``body``, of which RFC 1952 allows any number."""
    parts: list[bytes] = []
    room_bytes = bytes_max
    while body:
        inflater = isal_zlib.decompressobj(wbits=GZIP_WINDOW_BITS)
        try:
            part: bytes = inflater.decompress(body, room_bytes + 1)
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares an instance
            raise MalformedRequestError(
                "GZIP_MALFORMED", f"The body is not gzip: {error}."
            ) from error
        if len(part) > room_bytes:
            raise _too_large(bytes_max)
        if not inflater.eof:
            raise MalformedRequestError("GZIP_MALFORMED", "The gzip body ends before its end.")
        parts.append(part)
        room_bytes -= len(part)
        body = inflater.unused_data
    return b"".join(parts)


def _too_large(bytes_max: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        "BODY_TOO_LARGE",
        f"The body is larger than {bytes_max} bytes; split the request.",
        bytes_max=bytes_max,
    )
