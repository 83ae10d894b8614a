"""Calls by gRPC, to the runtime service itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

from layer_sdk.connection import Connection
from layer_sdk.transport import Refused, Unavailable, Unreached

CALL_S_MAX: Final = 60.0
MESSAGE_BYTES_MAX: Final = 256 * 1024 * 1024
LATER: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
    }
)
DETAILS_KEY: Final = "grpc-status-details-bin"
"""What an error of layer's own has among its trailers, and one of the network has not."""


def open_runtime(to: Connection) -> grpc.aio.Channel:
    """Return a channel to the runtime service; nothing is connected yet."""
    return grpc.aio.insecure_channel(
        to.runtime_address,
        options=(
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ),
    )


async def invoke(method: Callable[..., Awaitable[Any]], request: object) -> Any:
    """Call a method.

    Raises:
        Unreached: The service cannot be reached.
        Unavailable: It may succeed later.
        Refused: It will not.
    """
    try:
        return await method(request, timeout=CALL_S_MAX)
    except grpc.aio.AioRpcError as error:
        message = f"{error.code().name}: {error.details()}"
        is_told = any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())
        if error.code() is grpc.StatusCode.UNAVAILABLE and not is_told:
            raise Unreached(message) from error
        if error.code() in LATER:
            raise Unavailable(message) from error
        raise Refused(message) from error
