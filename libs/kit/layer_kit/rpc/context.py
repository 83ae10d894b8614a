"""What travels with a call beside its message: the trace and the request id.

Carried as W3C ``traceparent`` and ``x-request-id``, over HTTP and gRPC alike, and bound to every
log line written on the way.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Final

from opentelemetry import propagate
from opentelemetry.context import Context

REQUEST_ID_HEADER: Final = "x-request-id"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_\-.:]{1,128}")

request_id: ContextVar[str] = ContextVar("layer_request_id", default="")


def accept_request_id(offered: str | None) -> str:
    """Keep a caller's request id when it is well formed, otherwise make one."""
    if offered is not None and _REQUEST_ID.fullmatch(offered):
        return offered
    return f"req_{secrets.token_hex(12)}"


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that links a call to the request being served now."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    if current := request_id.get():
        carrier[REQUEST_ID_HEADER] = current
    return tuple(carrier.items())


def incoming_context(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[Context, str]:
    """Return the trace context and the request id that a call arrived with."""
    carrier: Mapping[str, str] = {key: value for key, value in metadata if isinstance(value, str)}
    return propagate.extract(carrier), accept_request_id(carrier.get(REQUEST_ID_HEADER))
