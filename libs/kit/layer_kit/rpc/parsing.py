"""Requests that are no message: refused like any other bad request, counted and logged as such.

grpc reads a request before anybody is asked, and answers ``UNKNOWN`` to what it cannot read: a
field of text that is not UTF-8 is enough. So what cannot be read is passed on as that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from layer_kit.errors import MalformedRequestError


class Unreadable:
    """Takes the place of a request that could not be read."""

    __slots__ = ()


UNREADABLE = Unreadable()


def reading(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Return what reads a request, or returns ``UNREADABLE`` where ``deserializer`` fails."""
    if deserializer is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError:
            return UNREADABLE

    return read


def readable(request: Any) -> Any:
    """Return the request.

    Raises:
        MalformedRequestError: ``MESSAGE_MALFORMED``.
    """
    if request is UNREADABLE:
        raise MalformedRequestError(
            "MESSAGE_MALFORMED",
            "The request is not a message of this call's type, or has text that is not UTF-8.",
        )
    return request


async def each_readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield the requests of a stream.

    Raises:
        MalformedRequestError: ``MESSAGE_MALFORMED``.
    """
    async for request in requests:
        yield readable(request)
