"""Who calls: let in by the same rule as over HTTP, and told to the store the same way."""

from __future__ import annotations

from typing import Any

import grpc.aio

from layer_gateway.application.admission import Admission
from layer_gateway.application.inbound import SENT_ON
from layer_gateway.domain.access import Scope
from layer_gateway.outcomes import Outcome
from layer_gateway.ports.stores import Caller
from layer_gateway.upstream_time import upstream_time


async def admitted(
    admission: Admission,
    scope: Scope,
    context: grpc.aio.ServicerContext[Any, Any],
    namespace: str | None,
) -> Caller:
    """Let a call in until it is done; return what identifies its caller to the store.

    Args:
        namespace: None for what is about as many namespaces as the caller may name.

    Raises what :meth:`Admission.enter` does.
    """
    metadata = [
        (name, value)
        for name, value in context.invocation_metadata() or ()
        if isinstance(value, str)
    ]
    entered, namespaces = await admission.enter(
        dict(metadata).get("authorization"), scope, namespace, is_about_many=namespace is None
    )
    if isinstance(outcome := upstream_time.get(None), Outcome):
        outcome.admitted()
    context.add_done_callback(lambda _: entered.give_back())  # type: ignore[arg-type]  # its stub names a class
    return Caller(
        headers=[
            (sent_name, value.encode())
            for name, value in metadata
            if (sent_name := name.encode()) in SENT_ON
        ],
        namespaces=namespaces,
    )
