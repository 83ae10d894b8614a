"""One way to call another service: a channel with retries, and calls with deadlines.

Retries happen inside gRPC by the service config, only on ``UNAVAILABLE`` (AIP-194), and only
while no answer has begun. A headless Service is balanced on the client: give
``dns:///name:port``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import grpc
import grpc.aio

from layer_kit.rpc.context import outgoing_metadata
from layer_kit.rpc.errors import from_rpc_error
from layer_kit.rpc.limits import CLIENT_OPTIONS

Response = TypeVar("Response")

RETRY_ATTEMPTS_MAX: Final = 3
_SERVICE_CONFIG: Final = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": RETRY_ATTEMPTS_MAX,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)
_NO_RETRY_CONFIG: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def open_channel(address: str, *, retries: bool = True) -> grpc.aio.Channel:
    """Return a channel to ``address``: ``host:port``, ``unix:/path`` or ``dns:///name:port``.

    Args:
        retries: Off for callers that have something better to do than wait for a service that
            is away, such as a read that can go past the cache.
    """
    config = _SERVICE_CONFIG if retries else _NO_RETRY_CONFIG
    return grpc.aio.insecure_channel(
        address,
        options=(
            *CLIENT_OPTIONS,
            ("grpc.service_config", config),
            ("grpc.enable_retries", int(retries)),
        ),
    )


async def invoke(
    method: Callable[..., Awaitable[Response]], request: object, *, timeout_s: float
) -> Response:
    """Call a unary ``method`` with a deadline and the current request's context.

    Raises:
        LayerError: What the server raised, or ``UnavailableError`` when it cannot be reached.
    """
    try:
        return await method(request, timeout=timeout_s, metadata=outgoing_metadata())
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
