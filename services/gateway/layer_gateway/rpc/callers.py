"""Who calls: let in by the same rule as over HTTP, and told to the store the same way."""

from __future__ import annotations

from typing import Any

import grpc.aio

from layer_gateway.application.inbound import SENT_ON, InboundAuth
from layer_gateway.ports import Caller


def admitted(auth: InboundAuth, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """Return what identifies the caller to the store.

    Raises:
        UnauthenticatedError: ``BEARER_MISSING``.
        KeyRefusedError: ``KEY_INVALID``.
    """
    metadata = [
        (name, value)
        for name, value in context.invocation_metadata() or ()
        if isinstance(value, str)
    ]
    auth.check(dict(metadata).get("authorization"))
    return Caller(
        headers=[
            (sent_name, value.encode())
            for name, value in metadata
            if (sent_name := name.encode()) in SENT_ON
        ]
    )
