"""Methods that a service declares and does not offer yet.

They answer ``UNIMPLEMENTED`` with an ``ErrorInfo``, so that a caller can tell a service that is
behind its API from a proxy that does not know the path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from layer_kit.errors import UnsupportedError


def refuse_all(services: Sequence[ServiceDescriptor]) -> Callable[[grpc.aio.Server], None]:
    """Return what registers every method of ``services`` as one that is not offered.

    Callers get ``UnsupportedError`` with the reason ``RPC_NOT_OFFERED``.
    """

    def register(server: grpc.aio.Server) -> None:
        for service in services:
            handlers = {method.name: _refusal(method) for method in service.methods}
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service.full_name, handlers),)
            )

    return register


def _refusal(method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    # A refusal reads nothing and sends nothing, so the kind of handler that waits for neither
    # serves methods of every kind.
    return grpc.stream_unary_rpc_method_handler(_refuse(method))


def _refuse(method: MethodDescriptor) -> Callable[..., Awaitable[Any]]:
    name = method.containing_service.full_name

    async def refuse(_requests: object, _context: object) -> Any:
        raise UnsupportedError(
            "RPC_NOT_OFFERED",
            f"This build of the service does not offer {name}/{method.name} yet.",
            method=f"{name}/{method.name}",
        )

    return refuse
