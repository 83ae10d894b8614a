"""Reading request bodies within their bound, inflating what layer itself must read."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Final, cast

from aiohttp import web
from isal import isal_zlib

from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.head_errors import unreadable
from layer_gateway.http.protocol import EdgeProtocol
from layer_kit.errors import (
    MalformedRequestError,
    MediaTypeError,
    PayloadTooLargeError,
    SlowRequestError,
)
from layer_kit.memory import MAPPED_BYTES_MIN

BODY_BYTES_PER_SECOND_MIN: Final = 32 * 1024
"""A body may take as long as this would, and the patience of the edge on top."""

GZIP_WINDOW_BITS: Final = 31
INFLATED_BYTES_AT_ONCE: Final = 4 * 1024 * 1024
PARTS_MAX: Final = 4096
INLINE_BYTES_MAX: Final = 64 * 1024
"""A compressed body that is no longer than this may inflate to one part uncounted."""


def json_at_hand(request: EdgeRequest, bytes_max: int) -> bytes | None:
    """Return a JSON body that came as is usual: along with its head and not compressed.

    None for any other, which :func:`read_json_body` reads, or refuses.
    """
    body = request.body_at_hand if request.head.is_plain_json else None
    return None if body is None or len(body) > bytes_max else body


async def read_body(request: web.BaseRequest, bytes_max: int) -> bytes:
    """Return the body as it was sent.

    Raises:
        MalformedRequestError: ``HTTP_MALFORMED`` when it goes on as no HTTP.
        PayloadTooLargeError: ``BODY_TOO_LARGE``.
        SlowRequestError: ``BODY_TOO_SLOW``.
        UnavailableError: ``BODIES_TOO_MANY``.
    """
    request = cast("EdgeRequest", request)
    body = request.body_at_hand
    if body is not None:  # as is usual: it came along with the head
        if len(body) > bytes_max:
            raise _too_large(bytes_max)
        return body
    content, protocol, size_bytes = request.content, request.protocol, 0
    declared_bytes = request.content_length or 0
    if declared_bytes > bytes_max:
        raise _too_large(bytes_max)
    await protocol.hold(declared_bytes)
    parts = BodyParts(declared_bytes)
    latest_s = asyncio.get_running_loop().time() + protocol.patience_s
    try:
        async with asyncio.timeout_at(latest_s) as deadline:
            while not content.at_eof():
                chunk = await content.readany()
                size_bytes += len(chunk)
                if size_bytes > bytes_max:
                    raise _too_large(bytes_max)
                if not declared_bytes:
                    await protocol.hold(len(chunk))
                parts.add(chunk)
                deadline.reschedule(latest_s + size_bytes / BODY_BYTES_PER_SECOND_MIN)
    except web.RequestPayloadError as error:
        raise unreadable(error.__cause__, str(error)) from error
    except TimeoutError as error:
        raise SlowRequestError(
            "BODY_TOO_SLOW",
            f"The body came too slowly: {size_bytes} bytes so far; "
            f"send {BODY_BYTES_PER_SECOND_MIN} bytes a second or more.",
            size_bytes=size_bytes,
        ) from error
    return parts.whole()


class BodyParts:
    """A body as it comes in.

    A buffer that grows on the heap is moved a dozen times, as what comes in lies behind it: parts
    are kept and joined in the end, unless having all of them twice would matter. What is large
    enough to be mapped is not moved. A caller who sends a few bytes at a time gets the buffer too.
    """

    def __init__(self, declared_bytes: int) -> None:
        self._parts: list[bytes] = []
        self._buffer = None if 0 < declared_bytes < MAPPED_BYTES_MIN else BytesIO()

    def add(self, part: bytes) -> None:
        if self._buffer is not None:
            self._buffer.write(part)
            return
        self._parts.append(part)
        if len(self._parts) == PARTS_MAX:
            self._buffer = BytesIO()
            self._buffer.writelines(self._parts)
            self._parts.clear()

    def whole(self) -> bytes:
        if self._buffer is None:
            return b"".join(self._parts)
        return self._buffer.getvalue()  # which gives its bytes away without copying them


async def read_json_body(request: web.BaseRequest, bytes_max: int) -> bytes:
    """Return a JSON body, inflated if it was sent compressed.

    Raises:
        MediaTypeError: ``CONTENT_TYPE_NOT_JSON`` or ``CONTENT_ENCODING_UNKNOWN``.
        MalformedRequestError: ``GZIP_MALFORMED``.
        PayloadTooLargeError: ``BODY_TOO_LARGE``, also of an inflated body.
    """
    request = cast("EdgeRequest", request)
    if not request.head.is_json:
        raise MediaTypeError(
            "CONTENT_TYPE_NOT_JSON", "Send this body with `content-type: application/json`."
        )
    body = await read_body(request, bytes_max)
    if not request.head.is_encoded:
        return body
    match (request.field("content-encoding") or "").strip().lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return await _inflated(body, bytes_max, request.protocol)
        case encoding:
            raise MediaTypeError(
                "CONTENT_ENCODING_UNKNOWN",
                f"Content encoding {encoding!r} is not read here; send gzip or none.",
                encoding=encoding,
            )


async def _inflated(body: bytes, bytes_max: int, protocol: EdgeProtocol) -> bytes:
    """Inflate all members of ``body``, of which RFC 1952 allows any number.

    A part at a time: each makes room for itself first, and lets others have a turn after it.
    """
    buffer = BytesIO()
    inflater = isal_zlib.decompressobj(wbits=GZIP_WINDOW_BITS)
    while body or not inflater.eof:
        if len(body) > INLINE_BYTES_MAX or buffer.tell():
            await protocol.hold(INFLATED_BYTES_AT_ONCE)
        try:
            part: bytes = inflater.decompress(body, INFLATED_BYTES_AT_ONCE)
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub declares an instance
            raise MalformedRequestError(
                "GZIP_MALFORMED", f"The body is not gzip: {error}."
            ) from error
        buffer.write(part)
        if buffer.tell() > bytes_max:
            raise _too_large(bytes_max)
        if inflater.eof:
            body = inflater.unused_data
            if body:
                inflater = isal_zlib.decompressobj(wbits=GZIP_WINDOW_BITS)
        else:
            body = inflater.unconsumed_tail
            if not part and not body:
                raise MalformedRequestError("GZIP_MALFORMED", "The gzip body ends before its end.")
            await asyncio.sleep(0)
    return buffer.getvalue()


def _too_large(bytes_max: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        "BODY_TOO_LARGE",
        f"The body is larger than {bytes_max} bytes; split the request.",
        bytes_max=bytes_max,
    )
