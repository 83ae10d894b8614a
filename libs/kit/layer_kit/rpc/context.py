"""What travels with a call beside its message: the trace and the request id.

Carried as W3C ``traceparent`` and ``x-request-id``, over HTTP and gRPC alike, and bound to every
log line written on the way.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import propagate
from opentelemetry.context import Context

REQUEST_ID_HEADER: Final = "x-request-id"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_\-.:]{1,128}")

TRACE_FIELDS: Final = frozenset(propagate.get_global_textmap().fields)
_numbers: Final = random.Random()  # noqa: S311 -- unlike, not secret; the system's cost more

ID_BYTES: Final = 12
IDS_MINTED_AT_ONCE: Final = 128
"""Together they cost what four would cost one by one."""

_minted: Final[list[str]] = []

request_id: ContextVar[str] = ContextVar("layer_request_id", default="")


def accept_request_id(offered: str | None) -> str:
    """Keep a caller's request id when it is well formed, otherwise make one."""
    return offered if offered is not None and is_request_id(offered) else mint_request_id()


def is_request_id(text: str) -> bool:
    """Tell whether a request id is well formed."""
    return _REQUEST_ID.fullmatch(text) is not None


def mint_request_id() -> str:
    """Return a new request id."""
    if not _minted:
        digits = _numbers.randbytes(IDS_MINTED_AT_ONCE * ID_BYTES).hex()
        size = 2 * ID_BYTES
        _minted.extend([f"req_{digits[at : at + size]}" for at in range(0, len(digits), size)])
    return _minted.pop()


def outgoing_metadata() -> tuple[tuple[str, str], ...]:
    """Return the metadata that links a call to the request being served now."""
    carrier: dict[str, str] = {}
    if otel_context.get_current():
        propagate.inject(carrier)
    if current := request_id.get():
        carrier[REQUEST_ID_HEADER] = current
    return tuple(carrier.items())


def incoming_trace(field: Callable[[str], str | None]) -> Context | None:
    """Return the trace context out of a call's headers or metadata; None when they hold none.

    Args:
        field: Returns a value by its name in lower case, one of ``TRACE_FIELDS``.
    """
    found = {name: value for name in TRACE_FIELDS if (value := field(name)) is not None}
    # Most calls bring none, and extracting nothing would cost more than looking for it.
    return propagate.extract(found) if found else None
